"""The register knows every file by content and every month by the version that was asked for."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.failures import NotFoundError
from pipeline_platform.warehouse import control

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
PIPELINE = "advisory_performance"
OCTOBER, NOVEMBER = "2026-10-01", "2026-11-01"


@dataclass(frozen=True)
class File:
    name: str = "vendor.csv"
    sha256: str = "a" * 64
    size_bytes: int = 10
    arrived_at: datetime = NOW


@pytest.fixture
def connection(database):
    with database.connection() as opened:
        yield opened


def claim(connection, file=None, run="run-1"):
    return control.register_claim(connection, PIPELINE, file or File(), run_id=run, now=NOW)


def publish(connection, sha256="a" * 64, months=(OCTOBER,), now=LATER):
    return control.mark_published(
        connection,
        PIPELINE,
        sha256,
        vendor="standard",
        records=5,
        quarantined=1,
        partition_keys=months,
        now=now,
    )


def field(connection, name, sha256="a" * 64):
    query = f"SELECT {name} FROM etl_processing_log WHERE file_sha256 = %s"
    return connection.execute(query, (sha256,)).fetchone()[0]


def load(connection, month, version):
    """What the serving load does in its transaction."""
    control.complete_partition(connection, PIPELINE, month, version)
    return control.mark_completed_partitions(connection, PIPELINE, [month], LATER)


def test_a_file_never_seen_is_new(connection):
    assert claim(connection) == "NEW"


def test_a_file_whose_run_was_killed_is_a_retry(connection):
    claim(connection)

    assert claim(connection, run="run-2") == "RETRY"


def test_a_retry_belongs_to_its_own_run(connection):
    claim(connection)
    claim(connection, run="run-2")

    assert field(connection, "run_id") == "run-2"


def test_a_failed_file_is_a_retry(connection):
    claim(connection)
    control.mark_failed(connection, PIPELINE, "a" * 64, reason="disk full", now=LATER)

    assert claim(connection) == "RETRY"


def test_a_published_file_is_a_duplicate_whatever_its_name(connection):
    claim(connection)
    publish(connection)

    assert claim(connection, File(name="other.csv")) == "DUPLICATE"


def test_a_duplicate_leaves_a_trace(connection):
    claim(connection)
    publish(connection)
    control.set_location(connection, PIPELINE, File().sha256, "archive/standard.csv")

    claim(connection, File(name="other.csv"))

    assert field(connection, "last_duplicate_name") == "other.csv"


def test_a_file_that_a_killed_run_did_not_put_in_its_place_is_not_its_own_duplicate(connection):
    claim(connection)
    publish(connection)

    claim(connection)

    assert field(connection, "last_duplicate_name") is None


def test_a_duplicate_does_not_change_the_status(connection):
    claim(connection)
    publish(connection)
    claim(connection)

    assert field(connection, "status") == "PUBLISHED"


def test_a_quarantined_file_is_a_duplicate(connection):
    claim(connection)
    control.mark_quarantined(
        connection, PIPELINE, "a" * 64, rule="empty_file", reason="It is empty.", now=LATER
    )

    assert claim(connection) == "DUPLICATE"


def test_the_same_content_for_another_pipeline_is_new(connection):
    claim(connection)

    assert control.register_claim(connection, "other", File(), run_id="r", now=NOW) == "NEW"


def test_a_name_that_comes_again_with_other_content_is_new(connection):
    claim(connection)

    assert claim(connection, File(sha256="b" * 64)) == "NEW"


def test_a_reopened_file_can_be_claimed_again(connection):
    claim(connection)
    publish(connection)
    control.reopen(connection, PIPELINE, "a" * 64, run_id="replay", now=LATER)

    assert claim(connection) == "RETRY"


def test_of_concurrent_claims_one_is_new(database):
    def one(_):
        with database.transaction() as own:
            return claim(own)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == ["NEW", "RETRY", "RETRY", "RETRY"]


def test_a_file_that_nobody_claimed_can_not_change_its_status(connection):
    with pytest.raises(NotFoundError):
        control.mark_failed(connection, PIPELINE, "f" * 64, reason="x", now=NOW)


def test_a_run_that_rolls_back_leaves_no_status(database):
    with database.transaction() as connection:
        claim(connection)
    with suppress(NotFoundError), database.transaction() as connection:
        publish(connection)
        control.set_location(connection, PIPELINE, "unknown", "x")
    with database.transaction() as connection:
        assert field(connection, "status") == "CLAIMED"


def test_a_published_files_duration_is_derived(connection):
    claim(connection)
    publish(connection)

    assert field(connection, "duration_seconds") == 600


def test_publishing_makes_an_unknown_vendor_known(connection):
    claim(connection)
    publish(connection)

    assert connection.execute("SELECT vendor FROM vendors").fetchall() == [("standard",)]


def test_publishing_does_not_rename_a_vendor(connection):
    control.register_vendor(connection, "standard", "Standard Ltd", NOW)
    claim(connection)
    publish(connection)

    found = connection.execute("SELECT display_name FROM vendors").fetchone()
    assert found == ("Standard Ltd",)


def test_publishing_requests_the_files_months(connection):
    claim(connection)
    publish(connection, months=[NOVEMBER, OCTOBER, OCTOBER])

    assert list(control.pending_partitions(connection, PIPELINE)) == [OCTOBER, NOVEMBER]


def test_a_file_without_any_month_is_complete_at_once(connection):
    claim(connection)
    publish(connection, months=[])

    assert field(connection, "status") == "COMPLETED"


def test_a_quarantined_file_is_listed_with_rule_and_place(connection):
    claim(connection)
    control.mark_quarantined(
        connection,
        PIPELINE,
        "a" * 64,
        rule="empty_file",
        reason="It is empty.",
        location="quarantine/a/vendor.csv",
        now=LATER,
    )

    found = connection.execute(
        "SELECT file_name, rule, location, state FROM quarantined_files"
    ).fetchone()
    assert found == ("vendor.csv", "empty_file", "quarantine/a/vendor.csv", "HELD")


def test_quarantining_twice_is_the_same_as_once(connection):
    claim(connection)
    for _ in range(2):
        control.mark_quarantined(
            connection, PIPELINE, "a" * 64, rule="empty_file", reason="It is empty.", now=LATER
        )

    assert connection.execute("SELECT count(*) FROM quarantined_files").fetchone() == (1,)


def test_a_request_during_the_work_keeps_the_month_pending(connection):
    version = control.request_partitions(connection, PIPELINE, [OCTOBER], NOW)[OCTOBER]
    control.request_partitions(connection, PIPELINE, [OCTOBER], LATER)
    control.complete_partition(connection, PIPELINE, OCTOBER, version)

    assert list(control.pending_partitions(connection, PIPELINE)) == [OCTOBER]


def test_completing_says_whether_the_month_is_done(connection):
    first = control.request_partitions(connection, PIPELINE, [OCTOBER], NOW)[OCTOBER]
    second = control.request_partitions(connection, PIPELINE, [OCTOBER], NOW)[OCTOBER]
    done = [
        control.complete_partition(connection, PIPELINE, OCTOBER, version)
        for version in (first, second)
    ]

    assert done == [False, True]


def test_a_version_is_never_used_again_after_the_month_was_done(connection):
    stale = control.request_partitions(connection, PIPELINE, [OCTOBER], NOW)[OCTOBER]
    control.complete_partition(connection, PIPELINE, OCTOBER, stale)
    control.request_partitions(connection, PIPELINE, [OCTOBER], LATER)

    assert not control.complete_partition(connection, PIPELINE, OCTOBER, stale)


def test_versions_rise_whoever_asks(database):
    def ask(_):
        with database.transaction() as own:
            return control.request_partitions(own, PIPELINE, [OCTOBER, NOVEMBER], NOW)

    with ThreadPoolExecutor(4) as pool:
        versions = [version for found in pool.map(ask, range(8)) for version in found.values()]
    with database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)

    assert (len(set(versions)), max(versions)) == (16, max(pending.values()))


def test_a_file_is_complete_once_its_month_is_loaded(connection):
    claim(connection)
    version = publish(connection)[OCTOBER]

    assert load(connection, OCTOBER, version) == ["a" * 64]


def test_a_file_waits_for_all_its_months(connection):
    claim(connection)
    versions = publish(connection, months=[OCTOBER, NOVEMBER])

    assert load(connection, OCTOBER, versions[OCTOBER]) == []


def test_a_file_is_complete_with_the_last_of_its_months(connection):
    claim(connection)
    versions = publish(connection, months=[OCTOBER, NOVEMBER])
    load(connection, OCTOBER, versions[OCTOBER])

    assert load(connection, NOVEMBER, versions[NOVEMBER]) == ["a" * 64]


def test_a_file_that_came_during_the_load_is_not_taken_for_loaded(connection):
    claim(connection)
    version = publish(connection)[OCTOBER]
    claim(connection, File(sha256="b" * 64))
    publish(connection, "b" * 64)

    assert load(connection, OCTOBER, version) == ["a" * 64]


def test_finishing_a_month_completes_month_and_files(connection):
    claim(connection)
    version = publish(connection)[OCTOBER]
    control.finish_partition(connection, PIPELINE, OCTOBER, version, LATER)

    found = (field(connection, "status"), control.pending_partitions(connection, PIPELINE))
    assert found == ("COMPLETED", {})
