"""A month in which what is promised of a pipeline was not kept: to be available, to be mended."""

from datetime import datetime, timedelta

from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.services import Services
from pipeline_platform.warehouse.run_records import EndedRun, Task, record_run

REMEDY = Remedy(command="pipeline-platform doctor")


def keep_probes(services: Services, month: datetime, *, failing_minutes: float) -> None:
    """Keep two probed days from the month's first instant on, of which so many minutes failed."""
    failed_at = month + timedelta(days=2) - timedelta(minutes=failing_minutes)
    periods = [(month, failed_at, []), (failed_at, month + timedelta(days=2), ["lake"])]
    with services.database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO health_periods (started_at, ended_at, failing) VALUES (%s, %s, %s)",
            periods,
        )


def keep_incident(services: Services, pipeline: str, began_at: datetime, minutes: float) -> None:
    """Keep an incident that was mended after so many minutes."""
    incident = Incident(
        pipeline=pipeline,
        cause="run:a",
        title="A run failed.",
        severity="warning",
        route="pipeline_failures",
        response_minutes=15,
        remedy=REMEDY,
        began_at=began_at,
        severe_at=began_at,
        opened_at=began_at,
        told_at=began_at,
    )
    with services.database.transaction() as connection:
        number = store.save_incident(connection, incident)
        connection.execute(
            "UPDATE incidents SET state = 'RESOLVED', resolved_at = %s WHERE incident_id = %s",
            (began_at + timedelta(minutes=minutes), number),
        )


def keep_steps(services: Services, pipeline: str, ended_at: datetime, seconds: float) -> None:
    """Keep a run of twenty steps that all took so long."""
    run = EndedRun(
        run_id="slow",
        pipeline=pipeline,
        job=f"{pipeline}_workflow",
        status="SUCCESS",
        created_at=ended_at,
        started_at=ended_at,
        ended_at=ended_at,
        tasks=[Task(f"step_{number}", succeeded=True, seconds=seconds) for number in range(20)],
    )
    with services.database.transaction() as connection:
        record_run(connection, run)
