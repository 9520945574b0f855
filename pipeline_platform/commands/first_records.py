"""The first records after a resume: proof that taking in goes on, or which pipeline it does not."""

import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta

from pipeline_platform.failures import PlatformError, UnavailableError
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.figures import first_intakes

SECONDS_BETWEEN_LOOKS = 1.0


def first_records(
    services: Services,
    pipelines: Collection[str],
    since: datetime,
    within: timedelta,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[str]:
    """Say, for each pipeline, which first records it took in since an instant (SW-52).

    Raises PlatformError if by then one did not although files wait, UnavailableError if nothing
    was delivered to it.
    """
    missing = set(pipelines)
    while True:
        with services.database.connection() as connection:
            found = first_intakes(connection, since)
        for row in found:
            if row["pipeline"] in missing:
                missing.remove(row["pipeline"])
                seconds = round((row["published_at"] - since).total_seconds(), 1)
                yield (
                    f"{row['pipeline']} took in {row['records']} records of {row['file_name']} "
                    f"{seconds} seconds later."
                )
        if not missing:
            return
        if clock() >= since + within:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    waiting = {one: services.landing(one).observe("incoming").object_count for one in missing}
    stuck = sorted(one for one, count in waiting.items() if count)
    if stuck:
        raise PlatformError(
            f"{', '.join(f'{one} has {waiting[one]} files waiting' for one in stuck)} and took in "
            "nothing: see `pipeline-platform daemon --dry-run` and `pipeline-platform errors`, or "
            "take them in with `pipeline-platform landing ingest`."
        )
    raise UnavailableError(
        f"Nothing was delivered to {', '.join(sorted(missing))} since "
        f"{since:%Y-%m-%d %H:%M:%S} UTC; ask again with more time, or ask who delivers."
    )
