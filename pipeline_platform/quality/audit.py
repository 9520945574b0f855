"""What decides whether staged silver may be published: contract, conservation, blocking limits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline_platform.quality.conservation import LedgerEntry, find_gaps, find_imbalances
from pipeline_platform.quality.contracts import ExpectationResult
from pipeline_platform.quality.measurements import Measurement, Verdict, judge, percentage
from pipeline_platform.quality.thresholds import Threshold

Judged = tuple[Threshold, Measurement, Verdict]


def ledger_measurements(
    ledger: Sequence[LedgerEntry], before: Sequence[LedgerEntry] = ()
) -> dict[str, Measurement]:
    """Measure validity (SA-62) and conservation (B-8) on what one judging accounted for.

    `before` are the entries of the hop before, for the same partitions and files: what it
    published must have arrived here. The offenders name hop, file, partition and how many records
    leak.
    """
    distinct = sum(entry.arrived - entry.deduplicated for entry in ledger)
    held = sum(entry.quarantined for entry in ledger)
    leaks = {
        f"{one.hop} {one.file_sha256[:12]} {one.partition_key}: {one.imbalance:+d}": one.imbalance
        for one in find_imbalances([*before, *ledger])
    }
    known = {entry.file_sha256 for entry in before}
    leaks |= {
        f"between hops {gap.file_sha256[:12]} {gap.partition_key}: "
        f"{gap.published} published, {gap.arrived} arrived": gap.published - gap.arrived
        for gap in find_gaps(before, [entry for entry in ledger if entry.file_sha256 in known])
    }
    return {
        "data_validity": percentage(
            "data_validity",
            distinct - held,
            distinct,
            offenders=[
                f"{entry.file_sha256[:12]} {entry.partition_key}"
                for entry in sorted(ledger, key=lambda entry: -entry.quarantined)
                if entry.quarantined
            ],
        ),
        "conservation": Measurement(
            "conservation",
            float(sum(abs(leak) for leak in leaks.values())),
            sample_size=len(before) + len(ledger),
            offenders=tuple(leaks),
        ),
    }


def judged(
    ledger: Sequence[LedgerEntry],
    thresholds: Sequence[Threshold],
    before: Sequence[LedgerEntry] = (),
) -> list[Judged]:
    """Judge a ledger by the blocking thresholds of silver."""
    measurements = ledger_measurements(ledger, before)
    return [
        (threshold, measurements[threshold.name], judge(measurements[threshold.name], threshold))
        for threshold in thresholds
    ]


def objections_to(
    audit: Mapping[str, Sequence[ExpectationResult]], verdicts: Sequence[Judged]
) -> list[str]:
    """Return what forbids the publication of silver, one sentence each."""
    rules = [
        f"{result.rule} of silver.{table} failed for {result.failing_count} rows "
        f"(observed {result.observed}, allowed {result.limit})"
        for table, results in audit.items()
        for result in results
        if result.is_blocking and not result.passed
    ]
    return rules + [verdict.sentence for _, _, verdict in verdicts if verdict.is_blocking]


def merged_results(
    audits: Sequence[Mapping[str, Sequence[ExpectationResult]]], table: str
) -> list[ExpectationResult]:
    """Merge the pieces of one range: a rule holds where it holds in every piece."""
    merged: dict[str, ExpectationResult] = {}
    for audit in audits:
        for result in audit[table]:
            known = merged.get(result.rule)
            if known is None:
                merged[result.rule] = result
                continue
            worse = result if known.passed else known
            merged[result.rule] = replace(
                worse,
                failing_count=known.failing_count + result.failing_count,
                row_count=(known.row_count or 0) + (result.row_count or 0) or None,
            )
    return list(merged.values())
