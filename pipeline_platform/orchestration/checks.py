"""Asset checks from what is declared: a contract's expectations and a runbook's thresholds.

One shape for every check: value, limit, numerator, denominator, offending keys, a sentence, and a
plot where there is a trend. "Not measurable" never passes: Dagster knows only passed and failed,
so it is a failed check with severity WARN whose outcome says what it is (B-14).
"""

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from xml.sax.saxutils import escape

import dagster as dg

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
            threshold.name,
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
    """Draw earlier values and the limit; return Markdown with the picture inside.

    An SVG made of text: a plotting library needs some fifty times as long, for each check of a run.
    """
    width, height, left, top, bottom = 480, 176, 64, 28, 24
    values = [value for _, value in history]
    shown = values if limit is None else [*values, limit]
    low, high = min(shown), max(shown)
    first, last = history[0][0].timestamp(), history[-1][0].timestamp()

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(height - bottom - share * (height - top - bottom), 1)

    def x(at: datetime) -> float:
        share = (at.timestamp() - first) / (last - first) if last > first else 0.5
        return round(left + share * (width - left - 16), 1)

    points = [(x(at), y(value)) for at, value in history]
    line = " ".join(f"{across},{down}" for across, down in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"',
        ' font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="16" font-size="12" text-anchor="middle">{escape(title)}</text>',
        f'<text x="{left - 6}" y="{y(high) + 4}" text-anchor="end">{high:.6g}</text>',
        f'<text x="{left - 6}" y="{y(low) + 4}" text-anchor="end">{low:.6g}</text>',
        f'<text x="{left}" y="{height - 8}">{history[0][0]:%Y-%m-%d}</text>',
        f'<text x="{width - 16}" y="{height - 8}" text-anchor="end">'
        f"{history[-1][0]:%Y-%m-%d}</text>",
        f'<polyline points="{line}" fill="none" stroke="#1f77b4"/>',
        *(f'<circle cx="{across}" cy="{down}" r="2" fill="#1f77b4"/>' for across, down in points),
    ]
    if limit is not None:
        parts.append(
            f'<line x1="{left}" x2="{width - 16}" y1="{y(limit)}" y2="{y(limit)}"'
            ' stroke="#d62728" stroke-dasharray="5 3"/>'
        )
    encoded = base64.b64encode("".join([*parts, "</svg>"]).encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def _bands(threshold: Threshold) -> str:
    lines = ["| severity | limit | response | route |", "|---|---|---|---|"]
    lines += [
        f"| {band.severity} | {threshold.direction.replace('_', ' ')} {band.limit:g}"
        f"{'' if band.is_inclusive else ' (excluded)'} | {band.response_minutes} min"
        f" | {band.route} |"
        for band in threshold.severest_first
    ]
    return "\n".join(lines)
