"""A table's own checks on damaged copies of its rows, by the code that judges in production (B-15).

The contract (`validation.validate`), conservation (`audit.judged`), tests that are queries and the
thresholds that read the table. Measures get a lake that shows the copy, and a database that refuses
each change.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.reading import Pinned
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.lake.trial_lake import TrialLake, write_rows
from pipeline_platform.partition_ranges import partition_key
from pipeline_platform.quality.audit import judged
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.conservation import ledger as ledger_of
from pipeline_platform.quality.contracts import Contract, ExpectationResult
from pipeline_platform.quality.measures import Measure, Scope, measure
from pipeline_platform.quality.mutation_copies import unchanged
from pipeline_platform.quality.mutations import Mutation
from pipeline_platform.quality.predicates import quoted
from pipeline_platform.quality.table_tests import TableTests
from pipeline_platform.quality.thresholds import Threshold
from pipeline_platform.quality.validation import validate
from pipeline_platform.refinement import HOP
from pipeline_platform.run_context import RunContext

_ROW_STAGES = ("bronze", "silver", "gold")
_HOPS = {"bronze": LANDING_HOP, "silver": HOP}
"""The hop whose ledger accounts for a layer's rows; gold is computed and has none."""


class _WatchedLake(TrialLake):
    """A trial lake that knows which tables were read."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake)
        self.read: set[tuple[str, str]] = set()

    def show(self, table: LakeTable, partition: date, path: str) -> None:
        """Show a file's rows as a partition, instead of those shown before."""
        self._given.pop(table.identifier, None)
        self.put(table, (partition, partition), [path])

    def pin(
        self,
        table: LakeTable,
        *,
        months: tuple[date, date] | None = None,
        snapshot_id: int | None = None,
    ) -> Pinned:
        self.read.add(table.identifier)
        return super().pin(table, months=months, snapshot_id=snapshot_id)


@dataclass
class MutationChecks:
    """The checks of one table; `blind` are those that can't judge its undamaged copy, and why.

    `measures` has the pipeline's measures by threshold. Use it within `watching`.
    """

    run: RunContext
    table: LakeTable
    contract: Contract
    partition: date
    engine: duckdb.DuckDBPyConnection
    folder: Path
    measures: Mapping[str, Measure[Any]]
    tests: TableTests
    blind: dict[str, str] = field(default_factory=dict)
    _seeing: list[Threshold] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Open what measures read from, and find those that can judge the copy."""
        self._lake = _WatchedLake(self.run.services.lake)
        with self.run.services.only_reading(self._lake) as services:
            self._scope = Scope(replace(self.run, services=services), (self.partition,))
            self.blind |= {
                one.rule: f"fails on the undamaged copy: {one.observed}"
                for one in self._contract_results(unchanged(self.table))
                if not one.passed
            }
            self.tests.open(self.engine)
            tests = list(self.tests.queries)
            self.blind |= dict.fromkeys(
                self.tests.failed(self.engine, unchanged(self.table), tests),
                "fails on the undamaged copy",
            )
            for threshold in self.run.runbook.thresholds.values():
                self._try(threshold)
            yield

    def failed(self, mutation: Mutation) -> list[str]:
        """Return the checks that fail because of a mutation; the cheap ones are asked first.

        All rules of the contract that fail; conservation if none does; else all tests that
        fail; else the first threshold.
        """
        broken = [
            one.rule
            for one in self._contract_results(mutation.query)
            if not one.passed and one.rule not in self.blind
        ]
        if mutation.kind == "missing_column":
            return broken  # what is no table of ours can't be published, nor measured
        broken = broken or self._unconserved(mutation.query) or self._failed_tests(mutation.query)
        if broken or not self._seeing:
            return broken
        path = write_rows(
            self.table, self.engine.sql(mutation.query), str(self.folder / "mutated.parquet")
        )
        self._lake.show(self.table, self.partition, path)
        fails = (one.name for one in self._seeing if self._outcome(one)[0] == "fail")
        return [*islice(fails, 1)]

    def _contract_results(self, query: str) -> list[ExpectationResult]:
        return validate(self.contract, self.engine.sql(query), now=self.run.now())

    def _failed_tests(self, query: str) -> list[str]:
        seeing = [name for name in self.tests.queries if name not in self.blind]
        return [*self.tests.failed(self.engine, query, seeing)]

    def _unconserved(self, query: str) -> list[str]:
        """Return the blocking thresholds that the rows break, by the ledger of the partition.

        An entry has published so many records more, or fewer, than it says as the mutation has
        rows of its file and partition.
        """
        hop = _HOPS.get(self.table.layer)
        if hop is None or "file_sha256" not in self.table.schema.names:
            return []
        counts = self._counts(query)
        differences = {
            key: counts.get(key, 0) - self._clean_counts.get(key, 0)
            for key in counts.keys() | self._clean_counts.keys()
        }
        known = {(one.partition_key, one.file_sha256): one for one in self._ledger}
        entries = [
            replace(entry, published=entry.published + differences.get(key, 0))
            for key, entry in known.items()
        ]
        entries += [
            LedgerEntry(self.run.runbook.pipeline, hop, key[1], key[0], 0, more, 0, 0, 0)
            for key, more in differences.items()
            if key not in known
        ]
        verdicts = judged(entries, self.run.runbook.blocking_thresholds)
        return [verdict.name for _, _, verdict in verdicts if verdict.is_blocking]

    def _counts(self, query: str) -> dict[tuple[str, str], int]:
        by = quoted(str(self.table.partition_by))
        rows = self.engine.sql(
            f"SELECT coalesce({by}::VARCHAR, ''), coalesce(file_sha256, ''), count(*)"
            f" FROM ({query}) GROUP BY ALL"
        ).fetchall()
        return {(key, sha256): count for key, sha256, count in rows}

    @cached_property
    def _clean_counts(self) -> dict[tuple[str, str], int]:
        return self._counts(unchanged(self.table))

    @cached_property
    def _ledger(self) -> list[LedgerEntry]:
        key, hop = partition_key(self.partition), _HOPS[self.table.layer]
        with self._scope.run.services.database.connection() as connection:
            return ledger_of(connection, self._scope.pipeline, hop=hop, partition_key=key)

    def _try(self, threshold: Threshold) -> None:
        """Measure a threshold on the undamaged copy; keep it if it reads the table and passes."""
        if (
            threshold.stage not in _ROW_STAGES
            or threshold.clock == "wall"
            or threshold.name not in self.measures
        ):
            return
        clean = str(self.folder / "clean.parquet")
        if not Path(clean).exists():
            write_rows(self.table, self.engine.sql(unchanged(self.table)), clean)
        self._lake.show(self.table, self.partition, clean)
        self._lake.read.clear()
        outcome, why = self._outcome(threshold)
        if self.table.identifier not in self._lake.read:
            return
        if outcome == "pass":
            self._seeing.append(threshold)
        else:
            self.blind[threshold.name] = why

    def _outcome(self, threshold: Threshold) -> tuple[str, str]:
        _, verdict = measure(self._scope, threshold, self.measures)
        return verdict.outcome, verdict.sentence
