"""How many mutations of a table its own checks catch, on a copy that nobody else sees (B-15).

Nothing is written but files in a temporary folder. A pipeline needs its runbook; its contracts and
the thresholds that it measures in its own `measures.py` judge. A table without a contract is judged
by its declaration, and all by the tests that are given.
"""

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.pipeline_folders import pipeline_folders
from pipeline_platform.progress import tracked
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.declarations import declared_contract
from pipeline_platform.quality.measurements import Measurement, percentage, unmeasured
from pipeline_platform.quality.measures import Labelled, Measure
from pipeline_platform.quality.mutation_checks import MutationChecks
from pipeline_platform.quality.mutation_copies import always_given, copy_rows, digest, unchanged
from pipeline_platform.quality.mutations import KINDS, mutations_of
from pipeline_platform.quality.table_tests import TableTests
from pipeline_platform.run_context import RunContext
from pipeline_platform.runbook import MUTATION_SCORE, Runbook
from pipeline_platform.services import Services

NOT_MEASURABLE = "not measurable"
TestsAt = Callable[[date], TableTests]
"""Gives the tests of one partition of a table."""
Outcome = Literal["caught", "survived", "not applicable"]


@dataclass(frozen=True)
class Mutated:
    """How one mutation came out; `caught_by` names the checks that failed because of it.

    "not applicable" is one that changes no row, such as another encoding of plain letters, or a
    kind for which the table has no column.
    """

    kind: str
    columns: tuple[str, ...]
    outcome: Outcome
    caught_by: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Kind and columns, as reports name it."""
        return f"{self.kind} {' and '.join(self.columns)}".strip()


@dataclass(frozen=True)
class TableScore:
    """What a table's checks are worth: each mutation of a copy of one partition.

    A table with neither contract nor tests has no limit (`has_limit`): its score is shown only.
    `blind` are the checks that could not judge, with the reason: they fail, or measure nothing,
    on the undamaged copy. Without rows there is no partition and nothing is measurable.
    """

    table: str
    has_limit: bool = True
    partition: date | None = None
    copied_rows: int = 0
    partition_rows: int = 0
    mutations: tuple[Mutated, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)

    def with_outcome(self, outcome: Outcome) -> list[Mutated]:
        """Return the mutations that came out so."""
        return [one for one in self.mutations if one.outcome == outcome]

    def measurement(self) -> Measurement:
        """Return the share of mutations that a check caught; offenders are the survivors."""
        if self.partition is None:
            return unmeasured(MUTATION_SCORE, f"{self.table} has no rows yet")
        caught, survived = len(self.with_outcome("caught")), self.with_outcome("survived")
        return percentage(
            MUTATION_SCORE,
            caught,
            caught + len(survived),
            offenders=[f"{self.table}: {one.label}" for one in survived],
        )


def contracts_of(services: Services, pipeline: str) -> list[Contract]:
    """Return what is known of a pipeline's tables: contracts, and declarations of other tables.

    Contracts come first, then the published tables without one, by layer and name.
    """
    known = own_contracts(pipeline)
    asked = {one.asset for one in known}
    others = [one for one in services.lake.tables(pipeline) if "/".join(one.asset_key) not in asked]
    return [*known, *map(declared_contract, others)]


def own_contracts(pipeline: str) -> list[Contract]:
    """Read the contracts of a pipeline, by table."""
    folder = pipeline_folders()[pipeline] / "contracts"
    return [Contract.load(path) for path in sorted(folder.glob("*.yaml"))]


def run_of(services: Services, runbook: Runbook, run_id: str) -> RunContext:
    """Return the surroundings of a run of a pipeline, its own where its package has some."""
    own = own_part(runbook.pipeline, "run_context", "RunContext")
    if own is None:
        return RunContext(services, run_id, runbook=runbook)
    found: RunContext = own(services, run_id)
    return found


def score_table(
    run: RunContext,
    contract: Contract,
    partition: date | None = None,
    tests_at: TestsAt | None = None,
) -> TableScore:
    """Damage a copy of one partition in every way and see what the checks of its table say.

    The newest partition with enough rows, else the largest, is taken unless one is given. At most
    `mutations.sampled_rows` of the runbook are copied, whole accounts where the key has one; with
    tests all rows, for tests compare a table with what it was made from. In gold, which declares
    little, a column is required if it has a value in every row.
    Raises NotFoundError for a partition that is not there.
    """
    table = _stored(run, contract)
    own = {one.asset for one in own_contracts(run.runbook.pipeline)}
    has_limit = tests_at is not None or contract.asset in own
    present = {} if table is None else dates_in(run.services.lake.partitions(table))
    if partition is not None and partition not in present:
        raise NotFoundError(f"The table {contract.table} has no partition {partition}.")
    chosen = partition or _newest(present, run.runbook.rulings.minimum_samples.get("rows", 1))
    if table is None or chosen is None:
        return TableScore(contract.table, has_limit)
    measures: Mapping[str, Measure[Any]] = (
        own_part(run.runbook.pipeline, "measures", "MEASURES") or {}
    )
    with (
        run.services.connect() as engine,
        tempfile.TemporaryDirectory(prefix="mutations-") as folder,
    ):
        rows = run.services.lake.relation(engine, table, months=(chosen, chosen))
        parts = _parts(run.runbook, present[chosen]) if tests_at is None else 1
        copied = copy_rows(engine, table, contract, rows, parts)
        required = always_given(engine, table) if table.layer == "gold" else ()
        tests = TableTests() if tests_at is None else tests_at(chosen)
        checks = MutationChecks(run, table, contract, chosen, engine, Path(folder), measures, tests)
        clean = digest(engine, unchanged(table))
        outcomes = []
        with checks.watching():
            for one in tracked(mutations_of(table, contract, engine, required), table.name):
                outcome: Outcome = "not applicable"
                failed: list[str] = []
                if digest(engine, one.query) != clean:
                    failed = checks.failed(one)
                    outcome = "caught" if failed else "survived"
                outcomes.append(Mutated(one.kind, one.columns, outcome, tuple(failed)))
        tried = {one.kind for one in outcomes}
        outcomes += [Mutated(kind, (), "not applicable") for kind in KINDS if kind not in tried]
        return TableScore(
            contract.table,
            has_limit,
            chosen,
            copied,
            present[chosen],
            tuple(outcomes),
            dict(checks.blind),
        )


def labelled(scores: Sequence[TableScore]) -> Labelled:
    """Return the measurement of each table that has a limit, as the threshold is measured."""
    return {one.table: one.measurement() for one in scores if one.has_limit}


def rows_of_scores(scores: Sequence[TableScore]) -> list[dict[str, object]]:
    """Return one row a table: its score and what it is of, or why it has none (B-14)."""
    return [_row_of_score(one) for one in scores]


def _row_of_score(one: TableScore) -> dict[str, object]:
    measured = one.measurement()
    return {
        "table": one.table,
        "has limit": one.has_limit,
        "score": measured.value,
        "caught": len(one.with_outcome("caught")),
        "survived": len(one.with_outcome("survived")),
        "not applicable": len(one.with_outcome("not applicable")),
        "partition": None if one.partition is None else str(one.partition),
        "rows": one.copied_rows,
        "of rows": one.partition_rows,
        "blind checks": ", ".join(one.blind) or None,
        NOT_MEASURABLE: measured.not_measurable_reason,
    }


def survivors(scores: Sequence[TableScore]) -> list[dict[str, object]]:
    """Return one row for each mutation that no check caught."""
    return [
        {
            "table": score.table,
            "mutation": one.kind,
            "columns": ", ".join(one.columns),
        }
        for score in scores
        for one in score.with_outcome("survived")
    ]


def own_part(pipeline: str, module: str, name: str) -> Any:
    """Return what a pipeline's package has of its own under a name; None without such a module."""
    folder = pipeline_folders().get(pipeline)
    if folder is None or not (folder / f"{module}.py").exists():
        return None
    return getattr(importlib.import_module(f"pipeline_platform.{pipeline}.{module}"), name)


def _stored(run: RunContext, contract: Contract) -> LakeTable | None:
    """Return the table that a contract is about, as the catalog knows it."""
    known = {"/".join(one.asset_key): one for one in run.services.lake.tables(run.runbook.pipeline)}
    found = known.get(contract.asset)
    return found if found is not None and found.partition_by is not None else None


def _newest(present: Mapping[date, int], enough: int) -> date | None:
    """Return the newest partition with enough rows, else the newest of those with the most."""
    full = [day for day, rows in present.items() if rows >= enough]
    return max(full, default=None) or max(
        present, key=lambda day: (present[day], day), default=None
    )


def _parts(runbook: Runbook, row_count: int) -> int:
    """Return of how many parts of a partition one is copied."""
    most = runbook.mutations.sampled_rows if runbook.mutations else row_count
    return -(-row_count // max(most, 1))
