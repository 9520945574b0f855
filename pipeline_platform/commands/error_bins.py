"""Errors by time: what the control tables hold, and the runs that failed in Dagster (SW-20)."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipeline_platform.failures import BadInputError
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import reports

Row = dict[str, object]
MOST_BINS = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def error_bins(
    services: Services, since: timedelta, width: timedelta, pipeline: str | None
) -> list[Row]:
    """Return one row per bin of the window, newest first, with the failed runs of each.

    Raises BadInputError for more bins than anybody reads.
    """
    if since / width > MOST_BINS:
        raise BadInputError(
            f"{since} in bins of {width} are more than {MOST_BINS} rows; widen --bin."
        )
    now = utc_now()
    failed = failed_runs(open_instance(services.settings), now - since, width, pipeline)
    with services.database.connection() as connection:
        bins = reports.errors_by_bin(connection, now, since=since, width=width, pipeline=pipeline)
    return [
        {
            "from (UTC)": one["bin_start"].astimezone(UTC),
            "quarantined rows": one["quarantined_rows"],
            "quarantined files": one["quarantined_files"],
            "failed stream reads": one["failed_stream_reads"],
            "failed runs": failed[one["bin_start"]],
        }
        for one in bins
    ]


def failed_runs(
    instance: dg.DagsterInstance, since: datetime, width: timedelta, pipeline: str | None
) -> Counter[datetime]:
    """Count the runs that failed since an instant, by the start of the bin in which they ended.

    A run that ended because somebody stopped its pipeline did not fail.
    """
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    return Counter(
        bin_start(datetime.fromtimestamp(record.end_time, UTC), width)
        for record in instance.get_run_records(filters)
        if record.end_time is not None
        and STOPPED_TAG not in record.dagster_run.tags
        and record.end_time >= since.timestamp()
        and (pipeline is None or record.dagster_run.job_name.startswith(f"{pipeline}_"))
    )


def bin_start(at: datetime, width: timedelta) -> datetime:
    """Return the start of the bin that holds an instant: a multiple of its width since 1970."""
    return at - (at - _EPOCH) % width
