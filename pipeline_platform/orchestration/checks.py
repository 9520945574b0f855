"""Asset checks from what is declared: a contract's expectations and a runbook's thresholds.

One shape for every check: value, limit, numerator, denominator, offending keys, a sentence, and a
plot where there is a trend. "Not measurable" never passes: Dagster knows only passed and failed,
so it is a failed check with severity WARN whose outcome says what it is (B-14).
"""

import base64
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

import dagster as dg

from pipeline_platform.quality.contracts import Contract, ExpectationResult
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.thresholds import Threshold

_SEVERITIES = {
    "critical": dg.AssetCheckSeverity.ERROR,
    "warning": dg.AssetCheckSeverity.WARN,
    "info": dg.AssetCheckSeverity.WARN,
}
POINTS_OF_A_TREND = 3


def expectation_specs(asset: dg.AssetKey, contract: Contract) -> list[dg.AssetCheckSpec]:
    """Declare one check per expectation of a table's contract."""
    return [
        dg.AssetCheckSpec(
            expectation.rule,
            asset=asset,
            description=expectation.description,
            metadata={
                "dimension": expectation.dimension,
                "severity": expectation.severity,
                "is_blocking": expectation.is_blocking,
            },
        )
        for expectation in contract.expectations
    ]


def expectation_result(asset: dg.AssetKey, result: ExpectationResult) -> dg.AssetCheckResult:
    """Report one validated expectation."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=result.rule,
        passed=result.passed,
        severity=_SEVERITIES[result.severity],
        metadata={
            "outcome": "pass" if result.passed else "fail",
            "observed": str(result.observed),
            "limit": str(result.limit),
            "failing_rows": result.failing_count,
            "failing_sample": dg.MetadataValue.json([str(one) for one in result.failing_sample]),
        },
    )


def threshold_specs(
    thresholds: Iterable[Threshold], *, additional_deps: Sequence[dg.AssetKey] = ()
) -> list[dg.AssetCheckSpec]:
    """Declare one check per threshold, on the asset that the runbook names."""
    return [
        dg.AssetCheckSpec(
            threshold.name,
            asset=dg.AssetKey(threshold.asset.split("/")),
            description=f"{threshold.measure} ({', '.join(threshold.requirements)})",
            additional_deps=[*additional_deps],
            metadata={
                "unit": threshold.unit,
                "bands": dg.MetadataValue.md(_bands(threshold)),
                "window": threshold.window,
                "minimum_sample": threshold.minimum_sample,
            },
        )
        for threshold in thresholds
    ]


def threshold_result(
    threshold: Threshold, measurement: Measurement, verdict: Verdict
) -> dg.AssetCheckResult:
    """Report a verdict with everything that led to it."""
    metadata: dict[str, dg.MetadataValue | str | float | int] = {
        "outcome": verdict.outcome.replace("_", " "),
        "unit": threshold.unit,
        "offending_keys": dg.MetadataValue.json(list(measurement.offenders)),
    }
    numbers = {
        "value": verdict.value,
        "limit": verdict.limit,
        "numerator": verdict.numerator,
        "denominator": verdict.denominator,
        "sample_size": measurement.sample_size,
        "response_minutes": verdict.response_minutes,
    }
    metadata.update({name: value for name, value in numbers.items() if value is not None})
    if verdict.route:
        metadata["route"] = verdict.route
    if len(measurement.history) >= POINTS_OF_A_TREND:
        metadata["trend"] = dg.MetadataValue.md(
            trend_plot(threshold.title, measurement.history, verdict.limit)
        )
    severity = verdict.severity or "warning"
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(threshold.asset.split("/")),
        check_name=threshold.name,
        passed=verdict.outcome == "pass",
        severity=_SEVERITIES[severity],
        description=verdict.sentence,
        metadata=metadata,
    )


def trend_plot(title: str, history: Sequence[tuple[datetime, float]], limit: float | None) -> str:
    """Draw earlier values and the limit; return Markdown with the picture inside."""
    from matplotlib.dates import date2num  # noqa: PLC0415 -- slow import
    from matplotlib.figure import Figure  # noqa: PLC0415 -- slow import, only where there is a trend

    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.subplots()
    days = [date2num(at) for at, _ in history]  # type: ignore[no-untyped-call]
    axes.xaxis_date()
    axes.plot(days, [value for _, value in history], marker=".")
    if limit is not None:
        axes.axhline(limit, linestyle="--", color="tab:red", linewidth=1)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=80)
    encoded = base64.b64encode(picture.getvalue()).decode()
    return f"![{title}](data:image/png;base64,{encoded})"


def _bands(threshold: Threshold) -> str:
    lines = ["| severity | limit | response | route |", "|---|---|---|---|"]
    lines += [
        f"| {band.severity} | {threshold.direction.replace('_', ' ')} {band.limit:g}"
        f"{'' if band.is_inclusive else ' (excluded)'} | {band.response_minutes} min"
        f" | {band.route} |"
        for band in threshold.severest_first
    ]
    return "\n".join(lines)
