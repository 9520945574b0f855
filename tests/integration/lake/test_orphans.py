"""Files go only when nothing needs them, and are looked at once more before they go."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_platform.failures import ConflictError, PermanentError
from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.dbt_runs import start_dbt_run
from pipeline_platform.lake.expiry import expire
from pipeline_platform.lake.orphans import (
    LeftoverRetention,
    plan_leftovers,
    plan_orphans,
    remove_leftovers,
    remove_orphans,
)
from pipeline_platform.lake.reachability import Reachability
from pipeline_platform.runbook import CompactionLimits

DAY = timedelta(days=1)
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)


def later():
    """Return an instant by which everything written now is two days old."""
    return datetime.now(UTC) + 2 * DAY


def tree(folder):
    """Return every file below a folder with its size."""
    return {str(p): p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def plan(lake, balances):
    def make(now=None, unfinished_runs=()):
        return plan_orphans(
            lake,
            balances,
            kept_for=DAY,
            now=now or later(),
            unfinished_runs=unfinished_runs,
        )

    return make


@pytest.fixture
def remove(lake, balances):
    def run(planned, unfinished_runs=(), still_alone=lambda: None):
        return remove_orphans(
            lake,
            balances,
            planned,
            unfinished_runs=lambda: unfinished_runs,
            still_alone=still_alone,
        )

    return run


@pytest.fixture
def forgotten(lake, balances, append):
    """Three small files, merged, whose snapshots are forgotten; return their paths."""
    for number in range(3):
        append(run_id=f"run-{number}")
    before = lake.files(balances)
    compact(lake, balances, LIMITS, run_id="m")
    expire(
        lake,
        balances,
        run_id="m",
        kept_for=DAY,
        kept_count=1,
        now=later(),
        unfinished_runs=(),
    )
    return before


def test_files_of_forgotten_snapshots_are_removed(forgotten, plan, remove):
    remove(plan())
    assert [path for path in forgotten if Path(path).exists()] == []


def test_manifests_of_forgotten_snapshots_are_removed(lake, balances, forgotten, plan, remove):
    remove(plan())
    table = lake.iceberg(balances)
    left = {path for path in tree(table.location()) if not path.endswith(".parquet")}
    assert left <= Reachability().paths(table)


def test_what_is_left_is_exactly_what_is_reached(lake, balances, forgotten, plan, remove):
    remove(plan())
    table = lake.iceberg(balances)
    assert set(tree(table.location())) == Reachability().paths(table)


def test_the_rows_stay(lake, balances, forgotten, plan, remove, content):
    before = content(lake, balances)
    remove(plan())
    assert content(lake, balances) == before


def test_history_that_is_remembered_can_still_be_read(lake, con, balances, publish, plan, remove):
    first = publish(count=4)
    publish(count=2, run_id="run-2")
    remove(plan())
    rows = lake.relation(con, balances, snapshot_id=first.snapshot_id)
    assert rows.aggregate("count(*)").fetchall() == [(4,)]


def test_a_tag_keeps_its_files(lake, con, balances, publish, plan, remove):
    first = publish(count=4)
    lake.iceberg(balances).manage_snapshots().create_tag(first.snapshot_id, "audit").commit()
    publish(count=2, run_id="run-2")
    expire(lake, balances, run_id="m", kept_for=DAY, kept_count=1, now=later(), unfinished_runs=())
    remove(plan())
    rows = lake.relation(con, balances, snapshot_id=first.snapshot_id)
    assert rows.aggregate("count(*)").fetchall() == [(4,)]


def statistics_files(lake, table):
    return {Path(path) for path in tree(lake.iceberg(table).location()) if path.endswith(".stats")}


def test_statistics_of_a_remembered_snapshot_stay(lake, balances, publish, plan, remove):
    publish()
    lake.update_statistics(balances)
    remove(plan())
    (named,) = lake.iceberg(balances).metadata.statistics
    assert statistics_files(lake, balances) == {Path(named.statistics_path)}


def test_statistics_that_were_replaced_or_never_named_go(lake, balances, publish, plan, remove):
    publish()
    lake.update_statistics(balances)
    (replaced,) = statistics_files(lake, balances)
    lake.update_statistics(balances)
    unnamed = replaced.with_name("1-killed-before-its-commit.stats")
    unnamed.write_bytes(replaced.read_bytes())
    remove(plan())
    (named,) = lake.iceberg(balances).metadata.statistics
    assert statistics_files(lake, balances) == {Path(named.statistics_path)}


def test_statistics_go_with_their_snapshot(lake, balances, publish, plan, remove):
    publish()
    lake.update_statistics(balances)
    publish(count=2, run_id="run-2")
    expire(lake, balances, run_id="m", kept_for=DAY, kept_count=1, now=later(), unfinished_runs=())
    remove(plan())
    assert statistics_files(lake, balances) == set()


def test_the_plan_says_why_and_how_large(forgotten, plan):
    found = {one.path: (one.reason, one.size_bytes) for one in plan()}
    path = forgotten[0]
    assert found[path] == ("no remembered snapshot reads it", Path(path).stat().st_size)


def test_a_plan_changes_nothing(settings, forgotten, plan):
    before = tree(settings.home)
    plan()
    assert tree(settings.home) == before


@pytest.fixture
def staged(lake, balances, publish, rows):
    """Staged rows that nobody has published yet."""
    publish()
    return lake.stage(balances, rows("2026-10-01"), run_id="slow", partition="2026-10-01")


def test_young_staged_files_stay(staged, plan):
    assert plan(now=datetime.now(UTC)) == []


def test_old_staged_files_of_an_unfinished_run_stay(staged, plan):
    assert plan(unfinished_runs={"slow"}) == []


def test_old_staged_files_of_an_ended_run_go(staged, plan):
    assert [one.path for one in plan(unfinished_runs={"slo", "low"})] == list(staged.files)


def test_files_that_were_published_after_the_plan_stay(lake, balances, staged, plan, remove):
    planned = plan()
    lake.publish(staged, replace=None, properties={})
    done = remove(planned)
    assert (done.removed, set(done.kept.values())) == ((), {"a snapshot names it now"})


def test_files_of_a_run_that_started_again_after_the_plan_stay(staged, plan, remove):
    done = remove(plan(), unfinished_runs={"slow"})
    assert set(done.kept.values()) == {"an unfinished run wrote it"}


def test_a_file_that_was_written_anew_after_the_plan_stays(staged, plan, remove):
    planned = plan()
    os.utime(staged.files[0])
    assert set(remove(planned).kept.values()) == {"it was written anew"}


def test_a_file_that_is_gone_already_is_no_error(staged, plan, remove):
    planned = plan()
    Path(staged.files[0]).unlink()
    assert set(remove(planned).kept.values()) == {"somebody else removed it"}


def test_without_the_lock_nothing_is_removed(staged, plan, remove):
    def lost():
        raise ConflictError("lost")

    with pytest.raises(ConflictError):
        remove(plan(), still_alone=lost)
    assert Path(staged.files[0]).exists()


def test_nothing_is_concluded_when_a_live_file_is_not_seen(lake, balances, staged, plan):
    Path(lake.files(balances)[0]).unlink()
    with pytest.raises(PermanentError, match="nothing was removed"):
        plan()


def test_a_link_out_of_the_table_is_not_followed(lake, balances, staged, plan, tmp_path, remove):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.parquet").write_text("x")
    (Path(lake.iceberg(balances).location()) / "data" / "link").symlink_to(outside)
    remove(plan())
    assert (outside / "precious.parquet").exists()


@pytest.fixture
def leftovers(lake, settings, balances, publish):
    """What a killed dbt run left: its folder, and its staged files."""
    publish()
    run = start_dbt_run(lake, run_id="killed", partition="p", sources=[(balances, None)])
    Path(run.staging, "model.parquet").write_text("x")
    return run


def clean(settings, now, pipeline, unfinished_runs=(), staging_days=30):
    given = {"unfinished_runs": unfinished_runs}
    kept = LeftoverRetention(temp=7 * DAY, staging=staging_days * DAY)
    longer = LeftoverRetention(temp=20 * DAY, staging=60 * DAY)
    planned = plan_leftovers(
        settings, pipeline, own=kept, shared=longer, others={"another"}, now=now, **given
    )
    return remove_leftovers(settings, planned, **given)


@pytest.mark.parametrize(
    ("days", "temp", "staging"), [(6, 1, 1), (8, 0, 1), (29, 0, 1), (31, 0, 0)]
)
def test_temporary_files_go_after_seven_days_and_staged_ones_after_thirty(
    settings, balances, leftovers, days, temp, staging
):
    clean(settings, datetime.now(UTC) + days * DAY, balances.pipeline)
    found = len(list(leftovers.folder.rglob("run.json"))), len(tree(leftovers.staging))
    assert found == (temp, staging)


def test_leftovers_of_an_unfinished_run_stay(settings, balances, leftovers):
    clean(settings, datetime.now(UTC) + 40 * DAY, balances.pipeline, unfinished_runs={"killed"})
    assert (leftovers.folder / "run.json").exists()


def test_another_pipelines_clean_up_leaves_them(settings, balances, leftovers):
    days = datetime.now(UTC) + 400 * DAY
    kept = LeftoverRetention(temp=DAY, staging=DAY)
    planned = plan_leftovers(
        settings,
        "another",
        own=kept,
        shared=kept,
        others={balances.pipeline},
        now=days,
        unfinished_runs=(),
    )
    assert planned == []


@pytest.mark.parametrize(("days", "is_there"), [(19, True), (21, False)])
def test_what_is_nobodys_is_kept_as_long_as_anybody_wants(settings, balances, days, is_there):
    spilled = settings.home / "temp" / "duckdb" / "1-abc" / "block"
    spilled.parent.mkdir(parents=True)
    spilled.write_text("x")
    clean(settings, datetime.now(UTC) + days * DAY, balances.pipeline)
    assert spilled.exists() == is_there


def test_emptied_folders_go_with_their_files(settings, balances, leftovers):
    clean(settings, datetime.now(UTC) + 40 * DAY, balances.pipeline)
    assert not leftovers.folder.exists()


def test_tables_are_never_leftovers(lake, settings, balances, leftovers, content):
    before = content(lake, balances)
    clean(settings, datetime.now(UTC) + 400 * DAY, balances.pipeline)
    assert content(lake, balances) == before


def test_a_temp_location_that_holds_the_lake_is_refused(settings, balances, leftovers):
    wrong = settings.model_copy(update={"temp_location": str(settings.home)})
    with pytest.raises(PermanentError, match="must not be cleaned up"):
        clean(wrong, datetime.now(UTC), balances.pipeline)
