"""The bars of the design, measured side by side with bare engines; see docs/benchmarks.md."""
