"""Writers that never pause, compaction, expiry, orphan removal and readers, all at once."""

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.expiry import expire
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.orphans import plan_orphans, remove_orphans
from pipeline_platform.lake.reachability import Reachability
from pipeline_platform.runbook import CompactionLimits

REPLACED, APPENDED = "2026-10-01", "2026-11-01"
RUN_SECONDS, KEPT_SECONDS = 8, 4
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)


def rows_of(number):
    """Each publication has a number of rows that its own number tells."""
    return 2 + number % 3


class Work:
    """One worker's own lake and connection, at work until the time is up."""

    def __init__(self, stack, settings, url, table):
        self.table = table
        self.lake = Lake.open(settings, url)
        self.con = stack.enter_context(connect(settings, threads=1))
        stack.callback(self.lake.close)

    def stage(self, month, number, run_id):
        rows = self.con.sql(
            f"""SELECT 'a' || i AS account_id, DATE '{month}' AS as_of_month, {number} AS amount,
            NULL AS growth, NULL AS weight, NULL AS decimals, NULL AS is_current, NULL AS index,
            'f' AS file_sha256, TIMESTAMPTZ '2026-11-02 07:00:00+00' AS known_from
            FROM range({rows_of(number)}) r(i)"""
        )
        return self.lake.stage(self.table, rows, run_id=run_id, partition=month)

    def write(self, numbers, until):
        """Replace one month and append to the other; return the numbers that were appended."""
        appended = []
        for number in numbers:
            if time.monotonic() > until:
                break
            run_id = f"writer-{number}"
            for month, replace in ((REPLACED, f"as_of_month == '{REPLACED}'"), (APPENDED, None)):
                staged = self.stage(month, number, run_id)
                self.lake.publish(staged, replace=replace, properties={})
            appended.append(number)
        return appended

    def maintain(self, until):
        removed = 0
        while time.monotonic() < until:
            compact(self.lake, self.table, LIMITS, run_id="maintenance")
            kept_for, now = timedelta(seconds=KEPT_SECONDS), datetime.now(UTC)
            age = {"kept_for": kept_for, "now": now, "unfinished_runs": ()}
            expire(self.lake, self.table, run_id="maintenance", kept_count=2, **age)
            plan = plan_orphans(self.lake, self.table, **age)
            done = remove_orphans(
                self.lake,
                self.table,
                plan,
                unfinished_runs=lambda: (),
                still_alone=lambda: None,
            )
            removed += len(done.removed)
        return removed

    def read(self, until):
        """Return what no reader may ever see: half a publication, or one twice."""
        wrong, looks = [], 0
        while time.monotonic() < until:
            found = self.seen()
            looks += 1
            wrong += [(key, count) for key, count in found.items() if count != rows_of(key[1])]
            replaced = [number for month, number in found if month == REPLACED]
            wrong += [replaced] if len(replaced) != 1 else []
        return wrong, looks

    def seen(self):
        rows = self.lake.relation(self.con, self.table)
        grouped = rows.aggregate("as_of_month, amount, count(*)").fetchall()
        return Counter(
            {(month.isoformat(), int(number)): count for month, number, count in grouped}
        )


@pytest.fixture
def outcome(settings, database_url, balances):
    """Let all of them work at once; return what writers, maintenance and readers said."""
    with ExitStack() as stack:

        def worker():
            return Work(stack, settings, database_url, balances)

        first = worker()
        # History that is old enough to go while the others work.
        before = first.write(range(8), time.monotonic() + 60)
        location = first.lake.iceberg(balances).location()
        for path in Path(location).rglob("*"):
            os.utime(path, (0, 0))
        until = time.monotonic() + RUN_SECONDS
        with ThreadPoolExecutor(5) as pool:
            writers = [
                pool.submit(worker().write, range(start, 10_000, 2), until) for start in (100, 101)
            ]
            maintenance = pool.submit(worker().maintain, until)
            readers = [pool.submit(worker().read, until) for _ in range(2)]
            appended = before + [one for each in writers for one in each.result()]
            read = [one.result() for one in readers]
            removed = maintenance.result()
        needed = Reachability().paths(first.lake.iceberg(balances))
        gone = [path for path in needed if not Path(path).exists()]
        yield appended, removed, read, first.seen(), gone


def test_no_error_no_wrong_count_no_file_missing(outcome):
    appended, removed, read, found, gone = outcome
    expected = Counter({(APPENDED, number): rows_of(number) for number in appended})
    at_the_end = Counter({key: count for key, count in found.items() if key[0] == APPENDED})
    looks = min(looks for _, looks in read)
    wrong = [one for each, _ in read for one in each]
    assert (at_the_end, wrong, gone) == (expected, [], [])
    assert (removed > 0, looks > 1, len(appended) > 8) == (True, True, True)
