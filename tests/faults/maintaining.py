"""What test_maintenance_killed kills: maintenance of a fragmented table, restoration, backup.

It runs in a process that is forked from one which has loaded everything, and says which phase it
enters.
"""

from datetime import UTC, date, datetime, timedelta

import pyiceberg.catalog.sql
import pyiceberg.io.pyarrow
import pyiceberg.table  # noqa: F401 -- loaded before any process is forked

from pipeline_platform.lake.backup import MANIFEST, Backup, back_up
from pipeline_platform.lake.compaction import compact, content_checksum
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.expiry import expire
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.orphans import plan_orphans, remove_orphans
from pipeline_platform.lake.restoration import restore_from_backup, restore_from_snapshot
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.runbook import CompactionLimits
from pipeline_platform.settings import Settings
from tests.faults.publishing import SCHEMA

TABLE = LakeTable("faults", "silver", "maintained", SCHEMA, "Maintained.", "as_of_month")
MONTHS = ("2026-09-01", "2026-10-01", "2026-11-01")
FILES_EACH = 4
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
PHASES = (
    "compaction",
    "expiry",
    "statistics",
    "deletion",
    "restoration",
    "backup",
    "return from the backup",
)


def open_lake(home, url):
    settings = Settings(home=home, threads=1, memory_limit="500MB")
    return Lake.open(settings, url)


def append(lake, con, month, number, count=3000):
    rows = con.sql(
        f"""SELECT 'account ' || i AS account_id, DATE '{month}' AS as_of_month,
        i * {number} AS amount, 'f' AS file_sha256 FROM range({count}) r(i)"""
    )
    staged = lake.stage(TABLE, rows, run_id=f"run-{month}-{number}", partition=month)
    return lake.publish(staged, replace=None, properties={})


def prepare(lake):
    """Fragment three months, tag that state, then add rows to one month by mistake."""
    with connect(lake.settings) as con:
        for month in MONTHS:
            for number in range(FILES_EACH):
                good = append(lake, con, month, number)
        changes = lake.iceberg(TABLE).manage_snapshots()
        changes.create_tag(good.snapshot_id, "good").commit()
        append(lake, con, MONTHS[1], 99)
        # Staged and never published.
        lake.stage(
            TABLE,
            con.sql("SELECT 'a' AS account_id, DATE '2026-09-01' AS as_of_month, 1 AS amount,"
                    " 'f' AS file_sha256"),
            run_id="killed",
            partition="2026-09-01",
        )  # fmt: skip


def maintain(lake, say):
    age = {
        "kept_for": timedelta(days=1),
        "now": datetime.now(UTC) + timedelta(days=2),
        "unfinished_runs": (),
    }
    say("compaction")
    compact(lake, TABLE, LIMITS, run_id="maintenance")
    say("expiry")
    expire(lake, TABLE, run_id="maintenance", kept_count=1, **age)
    say("statistics")
    lake.update_statistics(TABLE)
    say("deletion")
    plan = plan_orphans(lake, TABLE, **age)
    remove_orphans(lake, TABLE, plan, unfinished_runs=lambda: (), still_alone=lambda: None)
    say("restoration")
    good = lake.iceberg(TABLE).refs()["good"].snapshot_id
    restore_from_snapshot(
        lake, TABLE, partition=date.fromisoformat(MONTHS[1]), snapshot_id=good, run_id="restore"
    )
    say("backup")
    folder = str(lake.settings.home / "backup")
    if not ObjectStore.at(folder, lake.settings).exists(MANIFEST):
        back_up(lake, TABLE, folder, partition=None, now=datetime.now(UTC))
    backup = Backup.open(folder, lake.settings)
    say("return from the backup")
    restore_from_backup(lake, TABLE, backup, partition=None, run_id="return")


def content(lake):
    """Return the checksum of each month's rows."""
    with connect(lake.settings) as con:
        return {
            month: content_checksum(
                con, lake.pin(TABLE, months=(date.fromisoformat(month),) * 2).query, TABLE
            )
            for month in MONTHS
        }


def main(home, url, said):
    maintain(open_lake(home, url), said.send)
    said.send("done")
