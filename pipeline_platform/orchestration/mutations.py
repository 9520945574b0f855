"""The checks' own check as Dagster sees it: an asset for each pipeline, made nightly (B-15)."""

from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg

from pipeline_platform import plots
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    OwnSchedules,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
)
from pipeline_platform.orchestration.checks import threshold_result, threshold_specs
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.mart_tests import score_tables
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.threshold_checks import record_measured
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.quality.mutation_scores import (
    TableScore,
    labelled,
    rows_of_scores,
    run_of,
    survivors,
)
from pipeline_platform.runbook import MUTATION_SCORE, Runbook, Schedule
from pipeline_platform.settings import Environment

GROUP = "operations"
SCHEDULE = "mutations"


def mutations_key(pipeline: str) -> dg.AssetKey:
    """Return the key of a pipeline's scores; it is the platform's, so the pipeline stays whole."""
    return dg.AssetKey([GROUP, "mutations", pipeline])


def mutations_asset(runbook: Runbook) -> dg.AssetsDefinition:
    """Return the asset that damages copies of a pipeline's tables and scores their checks.

    The check `mutation_score` comes with it. Nothing is changed but what is kept of every check.
    """
    pipeline, threshold = runbook.pipeline, runbook.thresholds[MUTATION_SCORE]

    @dg.asset(
        key=mutations_key(pipeline),
        group_name=GROUP,
        description=f"{threshold.measure} ({', '.join(threshold.requirements)})",
        check_specs=threshold_specs([threshold]),
    )
    def mutations(
        context: dg.AssetExecutionContext, services: ServicesParam
    ) -> Iterator[dg.MaterializeResult[None]]:
        run = run_of(services, runbook, context.run.run_id)
        with handled_failures(context):
            scores = score_tables(run)
            measures = {MUTATION_SCORE: lambda _: labelled(scores)}
            measurement, verdict = measure(Scope(run, ()), threshold, measures)
            record_measured(services, pipeline, threshold, measurement, verdict, context.run.run_id)
        yield dg.MaterializeResult(
            metadata=_metadata(scores),
            check_results=[threshold_result(threshold, measurement, verdict)],
        )

    return mutations


def mutations_job(pipeline: str) -> UnresolvedAssetJobDefinition:
    """Return the job `<pipeline>_mutations`."""
    return dg.define_asset_job(
        f"{pipeline}_{SCHEDULE}",
        selection=dg.AssetSelection.assets(mutations_key(pipeline)),
        description="Damages copies of the pipeline's tables to see which checks notice (B-15).",
    )


def mutations_schedule(
    runbook: Runbook, job: ExecutableDefinition, environment: Environment
) -> Sequence[dg.ScheduleDefinition]:
    """Return when a pipeline's checks are checked, on or off as its runbook says."""
    declared: dict[str, Schedule] = {SCHEDULE: runbook.mutations} if runbook.mutations else {}
    nightly = OwnSchedules(runbook.pipeline, declared)
    return schedules_from_runbook(nightly, dict.fromkeys(declared, job), environment)


def _metadata(scores: Sequence[TableScore]) -> dict[str, dg.MetadataValue]:
    missed, rows = survivors(scores), rows_of_scores(scores)
    metadata: dict[str, dg.MetadataValue] = {
        "scores": dg.MetadataValue.md(markdown_table(rows) if rows else "none"),
        "survivors": dg.MetadataValue.md(markdown_table(missed) if missed else "none"),
        "survived": dg.MetadataValue.int(len(missed)),
        "blind_checks": dg.MetadataValue.json({one.table: {**one.blind} for one in scores}),
    }
    measured = [(one.table, one.measurement().value) for one in scores]
    shares = [(table, share) for table, share in measured if share is not None]
    metadata |= {f"score/{table}": dg.MetadataValue.float(share) for table, share in shares}
    kinds = Counter(str(one["mutation"]) for one in missed)
    if kinds:
        title = "Survivors by kind of mutation"
        picture = plots.bars(title, [(kind, float(count)) for kind, count in kinds.most_common()])
        metadata["plot"] = dg.MetadataValue.md(plots.in_markdown(title, picture))
    return metadata
