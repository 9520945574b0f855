"""The pages of a pipeline: what is on each, made of sections that ask what is stored (XC-13)."""
