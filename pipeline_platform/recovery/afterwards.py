"""What follows a recovery: a report that reconciles what there is, and what was learnt (SA-71)."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from pipeline_platform.operations.plan import runbooks
from pipeline_platform.recovery.backup_sets import LakePart, PlatformBackup
from pipeline_platform.recovery.ended import record_recovery
from pipeline_platform.recovery.integrity import Query, look_at_platform
from pipeline_platform.recovery.lake_integrity import Looked
from pipeline_platform.recovery.pages import Document, as_markdown, lessons_page
from pipeline_platform.recovery.record import EndedRecovery, Recovery
from pipeline_platform.recovery.redelivery import files_without_rows
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.server_files import write_privately

Reports: TypeAlias = Callable[[Services, Path], Sequence[Path]]


def validate(
    services: Services,
    recovery: Recovery,
    now: datetime,
    *,
    backup: PlatformBackup | None,
    queries: Mapping[str, Query],
    reports: Reports,
) -> list[str]:
    """Look at the whole platform as it goes on, and write down what is reconciled (SA-71).

    What is wrong is said and kept, and stops nothing: what waits may mend it. `reports` writes
    what pipelines reconcile themselves into a folder, and returns the files.
    """
    looked = list(look_at_platform(services, now, queries=queries, backup=backup))
    document = reconciled(services, looked, backup.lake if backup else None, now)
    base = report_path(services.settings, recovery.began_at, "reconciliation")
    base.parent.mkdir(parents=True, exist_ok=True)
    write_privately(base.with_suffix(".json"), dumped(document))
    write_privately(base.with_suffix(".md"), as_markdown(document))
    written = [base.with_suffix(".md"), *reports(services, base.parent)]
    recovery.faults = tuple(fault for one in looked for fault in one.faults)
    return [
        f"{len(looked)} aspects were looked at, {len(recovery.faults)} things are wrong",
        *(one.in_words() for one in looked if one.faults),
        *(f"report: {one}" for one in written),
    ]


def write_lessons(services: Services, recovery: Recovery, now: datetime) -> list[str]:
    """Keep what happened where the post-mortem finds it, and a page that asks for the rest."""
    ended = EndedRecovery(
        recovery.began_at,
        now,
        recovery.by,
        recovery.reason,
        [one.model_dump(mode="json") for one in recovery.done],
        recovery.faults,
        recovery.lessons,
    )
    path = lessons_path(services.settings, recovery.began_at)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_privately(path, lessons_page(ended))
    with services.database.transaction() as connection:
        record_recovery(connection, ended)
    missing = 'write lessons down: pipeline-platform recover --lessons "..."'
    count = len(recovery.lessons)
    return [f"{count} lessons are written down" if count else missing, f"page: {path}"]


def reconciled(
    services: Services, looked: Sequence[Looked], part: LakePart | None, now: datetime
) -> Document:
    """Say of each pipeline what arrived, what became of it and what waits; and of the lake's rows.

    `looked` is what the validation found, `part` the lake of the backup that it was brought back
    from.
    """
    pipelines = {name: _of_pipeline(services, name) for name in runbooks()}
    before = {".".join(one.identifier): one.row_count for one in (part.tables if part else ())}
    sizes = {name: one.rows for name, one in services.lake.table_sizes().items()}
    return {
        "made_at": now.isoformat(),
        "validation": [
            {"aspect": one.aspect, "looked_at": f"{one.count} {one.unit}", "faults": one.faults}
            for one in looked
        ],
        "pipelines": pipelines,
        "lake_tables": [
            {"table": name, "rows": sizes.get(name), "rows_in_backup": before.get(name)}
            for name in sorted(sizes.keys() | before.keys())
        ],
    }


def report_path(settings: Settings, began_at: datetime, name: str) -> Path:
    """Return where what is written about a recovery lies, without the end of its name."""
    return settings.home / "recovery" / f"{began_at.astimezone(UTC):%Y-%m-%dT%H-%M-%S}-{name}"


def lessons_path(settings: Settings, began_at: datetime) -> Path:
    """Return the page of what was learnt from a recovery."""
    return report_path(settings, began_at, "lessons").with_suffix(".md")


def dumped(document: Document) -> str:
    """Return the report as JSON."""
    return json.dumps(document, indent=2, default=str)


def _of_pipeline(services: Services, pipeline: str) -> Document:
    with services.database.connection() as connection:
        files = connection.execute(
            "SELECT status, count(*) FROM etl_processing_log WHERE pipeline = %s"
            " GROUP BY 1 ORDER BY 1",
            (pipeline,),
        ).fetchall()
        hops = connection.execute(
            "SELECT hop, sum(arrived)::bigint, sum(published)::bigint, sum(quarantined)::bigint,"
            " sum(deduplicated)::bigint, sum(held_late)::bigint, sum(arrived - published"
            " - quarantined - deduplicated - held_late)::bigint"
            " FROM conservation_ledger WHERE pipeline = %s GROUP BY 1 ORDER BY 1 DESC",
            (pipeline,),
        ).fetchall()
        waiting = connection.execute(
            "SELECT partition_key FROM partition_work WHERE pipeline = %s ORDER BY 1", (pipeline,)
        ).fetchall()
    names = (
        "hop", "arrived", "published", "quarantined", "deduplicated", "held_late", "missing",
    )  # fmt: skip
    return {
        "files": dict(files),
        "hops": [dict(zip(names, row, strict=True)) for row in hops],
        "waiting": [key for (key,) in waiting],
        "files_without_rows": files_without_rows(services, pipeline),
    }
