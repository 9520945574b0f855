"""Asset checks from what is declared: a contract's expectations and a runbook's thresholds.

One shape for every check: value, limit, numerator, denominator, offending keys, a sentence, and a
plot where there is a trend. "Not measurable" never passes: Dagster knows only passed and failed,
so it is a failed check with severity WARN whose outcome says what it is (B-14).
"""

from collections.abc import Iterable, Sequence

import dagster as dg

from pipeline_platform import plots
from pipeline_platform.quality.contracts import Contract, ExpectationResult
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.thresholds import Threshold
from pipeline_platform.runbook_page import CHECKS_PAGE

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
    metadata: dict[str, dg.MetadataValue | str | int] = {
        "outcome": "pass" if result.passed else "fail",
        "observed": str(result.observed),
        "limit": str(result.limit),
        "failing_rows": result.failing_count,
        "failing_sample": dg.MetadataValue.json([str(one) for one in result.failing_sample]),
    }
    if result.row_count is not None:
        metadata["rows"] = result.row_count
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=result.rule,
        passed=result.passed,
        severity=_SEVERITIES[result.severity],
        metadata=metadata,
    )


def threshold_specs(
    thresholds: Iterable[Threshold], *, additional_deps: Sequence[dg.AssetKey] = ()
) -> list[dg.AssetCheckSpec]:
    """Declare one check per threshold, on the asset that the runbook names."""
    return [
        dg.AssetCheckSpec(
            threshold.check,
            asset=dg.AssetKey(threshold.asset.split("/")),
            description=f"{threshold.measure} ({', '.join(threshold.requirements)})",
            additional_deps=[*additional_deps],
            metadata={
                "unit": threshold.unit,
                "bands": dg.MetadataValue.md(_bands(threshold)),
                "window": threshold.window,
                "minimum_sample": threshold.minimum_sample,
                "runbook": CHECKS_PAGE,
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
    metadata.update({f"part/{name}": value for name, value in verdict.parts.items()})
    if verdict.outcome != "pass":
        metadata["runbook"] = CHECKS_PAGE
    if verdict.route:
        metadata["route"] = verdict.route
    if len(measurement.history) >= POINTS_OF_A_TREND:
        metadata["trend"] = dg.MetadataValue.md(
            plots.in_markdown(
                threshold.title, plots.trend(threshold.title, measurement.history, verdict.limit)
            )
        )
    severity = verdict.severity or "warning"
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(threshold.asset.split("/")),
        check_name=threshold.check,
        passed=verdict.outcome == "pass",
        severity=_SEVERITIES[severity],
        description=verdict.sentence,
        metadata=metadata,
    )


def _bands(threshold: Threshold) -> str:
    lines = ["| severity | limit | response | route |", "|---|---|---|---|"]
    lines += [
        f"| {band.severity} | {threshold.direction.replace('_', ' ')} {band.limit:g}"
        f"{'' if band.is_inclusive else ' (excluded)'} | {band.response_minutes} min"
        f" | {band.route} |"
        for band in threshold.severest_first
    ]
    return "\n".join(lines)
