"""The operations of the runbook that dbt runs: a macro asks, and what the platform does is here.

dbt-duckdb loads this module as a plugin (`profiles.yml`) and gives the macros of
`dbt_project/macros/operations.sql` the SQL function `platform_operation`. So `dbt run-operation`
works by itself, with the platform's environment; `pipeline-platform dbt-operation` sets that.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from pipeline_platform.failures import BadInputError, NotFoundError, PlatformError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.measures import MEASURES
from pipeline_platform.web_events.rulings import Runbook
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS

TRENDS = ("quality_trend", "quality_drop")
"""The thresholds of the runbook that tell whether quality declines."""


@dataclass(frozen=True)
class Answer:
    """What an operation found, in lines for people; `fail` ends dbt with an error."""

    lines: Sequence[str]
    outcome: Literal["pass", "warn", "fail"] = "pass"


@dataclass(frozen=True)
class Operations:
    """The operations by the name of their macro."""

    services: Services
    runbook: Runbook = field(default_factory=load_runbook)

    def run(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Run an operation; a failure of the platform is an answer, too."""
        known: Mapping[str, Callable[..., Answer]] = {
            "check_data_quality_trends": self.check_data_quality_trends,
            "update_table_statistics": self.update_table_statistics,
            "refresh_table_partitions": self.refresh_table_partitions,
        }
        if name not in known:
            raise BadInputError(f"There is no operation {name!r}; choose from {', '.join(known)}.")
        try:
            return known[name](**arguments)
        except PlatformError as error:
            return Answer([str(error)], "fail")

    def check_data_quality_trends(self) -> Answer:
        """Judge slope and drop of the last seven days' quality by the runbook (SW-6, SW-27).

        A critical band fails; a warning, or a trend that can't be measured, warns.
        """
        newest = [*dates_in(self.services.lake.partitions(WEB_EVENTS))][-1:]
        run = RunContext(self.services, "dbt-operation", runbook=self.runbook)
        scope = Scope(run, tuple(newest))
        thresholds = [self.runbook.thresholds[name] for name in TRENDS]
        verdicts = [measure(scope, threshold, MEASURES)[1] for threshold in thresholds]
        broken = [one for one in verdicts if one.outcome != "pass"]
        outcome: Literal["pass", "warn", "fail"] = "warn" if broken else "pass"
        if any(one.severity == "critical" for one in broken):
            outcome = "fail"
        return Answer([one.sentence for one in verdicts], outcome)

    def update_table_statistics(self, table_name: str = "web_events") -> Answer:
        """Count each column's different values and keep them with the snapshot (SW-36)."""
        table = _table_named(table_name)
        states = self.services.lake.partition_states(table)
        counts = self.services.lake.update_statistics(table)
        lines = [
            f"{'.'.join(table.identifier)}: {sum(one.row_count for one in states):,} rows in "
            f"{_files(sum(one.file_count for one in states))}, "
            f"{sum(one.total_bytes for one in states):,} bytes; bounds and nulls are in the "
            "manifests, different values of each column in the snapshot's statistics file:"
        ]
        return Answer([*lines, *(f"  {name}: {count:,}" for name, count in counts.items())])

    def refresh_table_partitions(self, table_name: str = "web_events") -> Answer:
        """Say that Iceberg needs no refresh, and verify every partition's files (SW-54)."""
        table = _table_named(table_name)
        states = self.services.lake.partition_states(table)
        broken = [path for one in states for path in one.broken_files]
        lines = [
            f"{'.'.join(table.identifier)}: nothing to refresh. A snapshot names the files of "
            "each partition, so a committed partition is known to every reader at once; what "
            f"could be wrong is a file that is gone. Looked at {len(states):,} partitions:",
            *(
                f"  {one.partition}: {_files(one.file_count)}, {one.row_count:,} rows, "
                f"{one.total_bytes:,} bytes"
                + (f", {len(one.broken_files)} of them broken" if one.broken_files else "")
                for one in states
            ),
            *(f"  gone or of another length: {path}" for path in broken[:10]),
        ]
        if broken:
            lines.append(f"{len(broken)} files are broken; restore their partitions.")
        return Answer(lines, "fail" if broken else "pass")


class Plugin(BasePlugin):  # type: ignore[misc, unused-ignore]
    """Gives dbt's DuckDB the function through which macros call the platform."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Add `platform_operation(name, arguments as JSON)`, which answers with JSON."""
        conn.create_function(
            "platform_operation", _answer, ["VARCHAR", "VARCHAR"], "VARCHAR", side_effects=True
        )


def _answer(name: str, arguments: str) -> str:
    with Services(Settings.from_env()) as services:
        return json.dumps(asdict(Operations(services).run(name, json.loads(arguments))))


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _table_named(name: str) -> LakeTable:
    tables = {table.name: table for table in (RAW_EVENTS, WEB_EVENTS, *MARTS.tables)}
    if name not in tables:
        raise NotFoundError(f"web_events has no table {name!r}; choose from {', '.join(tables)}.")
    return tables[name]
