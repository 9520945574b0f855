"""Scores of a pipeline's checks, whole or with all but the first rule of each contract left out."""

from pipeline_platform.quality.measurements import Verdict
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.quality.mutation_scores import labelled, own_contracts, score_table
from pipeline_platform.run_context import RunContext
from pipeline_platform.runbook import MUTATION_SCORE


def mutation_verdict(run: RunContext, *, rules: int | None = None) -> Verdict:
    """Judge a pipeline's scores, with only so many rules of each contract."""
    runbook = run.runbook
    scores = [
        score_table(run, one.model_copy(update={"expectations": one.expectations[:rules]}), None)
        for one in own_contracts(runbook.pipeline)
    ]
    measures = {MUTATION_SCORE: lambda _: labelled(scores)}
    return measure(Scope(run, ()), runbook.thresholds[MUTATION_SCORE], measures)[1]
