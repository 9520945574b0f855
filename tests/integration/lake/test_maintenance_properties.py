"""Whatever is done to a table in whatever order: its content is right, no needed file is gone."""

import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.expiry import expire
from pipeline_platform.lake.orphans import plan_orphans, remove_orphans
from pipeline_platform.lake.reachability import Reachability
from pipeline_platform.lake.restoration import restore_from_snapshot
from pipeline_platform.lake.staging import Staged
from pipeline_platform.runbook import CompactionLimits
from tests.examples import examples

DAY = timedelta(days=1)
MONTHS = ("2026-10-01", "2026-11-01")
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)

month = st.sampled_from(MONTHS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), month, st.integers(0, 3)),
        st.tuples(st.just("publish"), month, st.integers(0, 3)),
        st.tuples(st.just("stage"), month, st.integers(1, 3)),
        st.tuples(st.just("publish staged"), st.booleans()),
        st.tuples(st.just("compact")),
        st.tuples(st.just("withdraw"), st.integers(1, 6)),
        st.tuples(st.just("expire"), st.integers(1, 3)),
        st.tuples(st.just("tag")),
        st.tuples(st.just("remove orphans")),
        st.tuples(st.just("restore"), month, st.integers(0, 8)),
    ),
    min_size=4,
    max_size=12,
)


def sha256(number):
    """Return what stands for the hash of a delivery; they differ at their end alone."""
    return f"{number:064d}"


class Played:
    """A table, what its content must be, and what it was in each of its snapshots."""

    def __init__(self, lake, table, rows, con):
        self.lake, self.table, self.rows, self.con = lake, table, rows, con
        self.expected = {one: Counter() for one in MONTHS}
        self.history = []
        self.waiting = None
        self.number = 0
        lake.ensure(table)

    def do(self, kind, *arguments):
        self.number += 1
        getattr(self, kind.replace(" ", "_"))(*arguments)
        last = self.lake.last_publication(self.table)
        if last is not None:
            self.history.append(
                (last.snapshot_id, {k: Counter(v) for k, v in self.expected.items()})
            )
        self.check()

    def stage_rows(self, of_month, count):
        rows = self.rows(of_month, count=count, amount=str(self.number), file=sha256(self.number))
        run_id = f"run-{self.number}"
        staged = self.lake.stage(self.table, rows, run_id=run_id, partition=of_month)
        return staged, Counter({self.number: count} if count else {})

    def append(self, of_month, count):
        staged, rows = self.stage_rows(of_month, count)
        self.lake.publish(staged, replace=None, properties={})
        self.expected[of_month] += rows

    def publish(self, of_month, count):
        staged, rows = self.stage_rows(of_month, count)
        self.lake.publish(staged, replace=f"as_of_month == '{of_month}'", properties={})
        self.expected[of_month] = rows

    def stage(self, of_month, count):
        if self.waiting is None:
            self.waiting = self.stage_rows(of_month, count)

    def publish_staged(self, is_repeated):
        if self.waiting is None:
            return
        (staged, rows), self.waiting = self.waiting, None
        for _ in range(1 + is_repeated):
            self.lake.publish(staged, replace=None, properties={})
        self.expected[staged.partition] += rows

    def compact(self):
        compact(self.lake, self.table, LIMITS, run_id=f"run-{self.number}")

    def withdraw(self, back):
        """Take the rows of one delivery out, wherever they are."""
        number = self.number - back
        nothing = Staged(self.table, (), 0, f"run-{self.number}", "withdrawal")
        self.lake.publish(nothing, replace=f"file_sha256 == '{sha256(number)}'", properties={})
        for rows in self.expected.values():
            rows.pop(number, None)

    def unfinished(self):
        return {self.waiting[0].run_id} if self.waiting else set()

    def expire(self, count):
        expire(
            self.lake,
            self.table,
            run_id="m",
            kept_for=DAY,
            kept_count=count,
            now=datetime.now(UTC) + 2 * DAY,
            unfinished_runs=self.unfinished(),
        )

    def tag(self):
        last = self.lake.last_publication(self.table)
        if last is not None:
            changes = self.lake.iceberg(self.table).manage_snapshots()
            changes.create_tag(last.snapshot_id, f"tag-{self.number}").commit()

    def remove_orphans(self):
        now = datetime.now(UTC) + 2 * DAY
        plan = plan_orphans(
            self.lake, self.table, kept_for=DAY, now=now, unfinished_runs=self.unfinished()
        )
        remove_orphans(
            self.lake,
            self.table,
            plan,
            unfinished_runs=self.unfinished,
            still_alone=lambda: None,
        )

    def restore(self, of_month, back):
        if back >= len(self.history):
            return
        snapshot_id, was = self.history[-1 - back]
        arguments = {
            "partition": date.fromisoformat(of_month),
            "snapshot_id": snapshot_id,
            "run_id": f"run-{self.number}",
        }
        remembered = {one.snapshot_id for one in self.lake.snapshots(self.table)}
        if snapshot_id not in remembered:
            with pytest.raises(NotFoundError):
                restore_from_snapshot(self.lake, self.table, **arguments)
            return
        restore_from_snapshot(self.lake, self.table, **arguments)
        self.expected[of_month] = Counter(was[of_month])

    def check(self):
        found = {one: Counter() for one in MONTHS}
        rows = self.lake.relation(self.con, self.table)
        for of_month, amount, count in rows.aggregate("as_of_month, amount, count(*)").fetchall():
            found[of_month.isoformat()][int(amount)] += count
        needed = Reachability().paths(self.lake.iceberg(self.table))
        needed |= set(self.waiting[0].files) if self.waiting else set()
        gone = [path for path in needed if not Path(path).exists()]
        assert (found, gone) == (self.expected, [])


@given(steps=steps)
@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_content_is_right_and_no_needed_file_is_gone(lake, con, rows, balances, steps):
    played = Played(lake, replace(balances, name=f"t{time.monotonic_ns()}"), rows, con)
    for step in steps:
        played.do(*step)
