"""`data_quality_issues` and `check_observations` in PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipeline_platform import advisory_performance
from pipeline_platform.advisory_performance.rulings import Runbook
from pipeline_platform.quality.issues import (
    Connection,
    Issue,
    contract_issue,
    issues_by_day,
    issues_by_type,
    open_issues,
    record_issue,
    record_issues,
    resolve_issues,
    threshold_issue,
)
from pipeline_platform.quality.measurements import Measurement, judge, unmeasured
from pipeline_platform.quality.observations import history, observations, record_verdicts
from pipeline_platform.quality.validation import validate
from tests.unit.quality.silver_rows import CONTRACTS, as_table, good_row

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RUNBOOK = Runbook.load(Path(advisory_performance.__file__).parent / "runbook.yaml")
SCORE = RUNBOOK.thresholds["data_quality_score"]


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


def _issue(**changes: object) -> Issue:
    return Issue(**{"pipeline": "p", "severity": "warning", "issue_type": "contract", **changes})


def test_an_issue_is_kept_as_it_was_given(conn: Connection) -> None:
    issue = _issue(rule="r", expected_value="1", actual_value="2", line_number=7, run_id="run")
    record_issue(conn, issue, now=NOW)
    found = open_issues(conn, "p")[0]
    assert {name: found[name] for name in vars(issue)} == vars(issue)


def test_hostile_and_endless_text_is_stored(conn: Connection) -> None:
    record_issue(conn, _issue(description="\x00" + "x" * 10_000), now=NOW)
    assert len(open_issues(conn, "p")[0]["description"]) == 4000


def test_issues_are_counted_by_day_and_severity_the_newest_and_worst_first(
    conn: Connection,
) -> None:
    record_issues(conn, [_issue(), _issue(severity="critical"), _issue()], now=NOW)
    record_issue(conn, _issue(severity="info"), now=NOW - DAY)
    assert issues_by_day(conn, "p", since=NOW - 7 * DAY) == [
        ("2026-11-20", "critical", 1),
        ("2026-11-20", "warning", 2),
        ("2026-11-19", "info", 1),
    ]


def test_the_average_of_an_issue_type_reads_every_number_and_skips_the_rest(
    conn: Connection,
) -> None:
    values = ["1.2.3", "-5", "1e1", " 4 ", ".5", "", "n/a", "1e999", None]
    record_issues(conn, [_issue(actual_value=value) for value in values], now=NOW)
    (summary,) = issues_by_type(conn, "p", since=NOW - DAY)
    assert (summary.count, summary.average_actual_value) == (9, pytest.approx(9.5 / 4))


def test_a_rule_that_is_kept_again_resolves_its_issues(conn: Connection) -> None:
    record_issues(conn, [_issue(rule="r", partition_key=key) for key in ("a", "b")], now=NOW)
    resolve_issues(conn, "p", rule="r", partition_key="a", now=NOW)
    assert [one["partition_key"] for one in open_issues(conn, "p")] == ["b"]


def test_a_failed_threshold_becomes_an_issue_with_value_limit_and_offenders() -> None:
    measurement = Measurement(SCORE.name, 90.5, sample_size=100, offenders=("A1",))
    issue = threshold_issue("p", measurement, judge(measurement, SCORE))
    assert issue is not None
    assert (issue.expected_value, issue.actual_value, "A1" in str(issue.description)) == (
        "95",
        "90.5",
        True,
    )


@pytest.mark.parametrize(
    "measurement", [Measurement(SCORE.name, 99, sample_size=100), unmeasured(SCORE.name, "none")]
)
def test_what_did_not_fail_is_no_issue(measurement: Measurement) -> None:
    assert threshold_issue("p", measurement, judge(measurement, SCORE)) is None


def test_a_failed_expectation_becomes_an_issue_with_its_sample() -> None:
    rows = as_table("valuations", [good_row("valuations", currency="usd")])
    results = validate(CONTRACTS["valuations"], rows, now=NOW)
    issues = [contract_issue("p", one, table_name="valuations") for one in results]
    (issue,) = [one for one in issues if one is not None]
    assert (issue.rule, issue.actual_value, "usd" in str(issue.description)) == (
        "currency_is_a_code",
        "1",
        True,
    )


def test_every_verdict_is_observed_also_that_nothing_could_be_measured(conn: Connection) -> None:
    given = [Measurement(SCORE.name, 99, sample_size=100), unmeasured(SCORE.name, "no rows")]
    verdicts = [judge(one, SCORE) for one in given]
    record_verdicts(conn, "p", verdicts, now=NOW, asset_key="a/b/c", partition_key="2026-10-01")
    found = observations(conn, "p", SCORE.name)
    assert [one.outcome for one in found] == ["pass", "not_measurable"]


def test_a_history_is_in_order_and_leaves_out_what_has_no_value(conn: Connection) -> None:
    for day, measurement in enumerate(
        (Measurement(SCORE.name, 97, sample_size=100), unmeasured(SCORE.name, "no rows"))
    ):
        record_verdicts(conn, "p", [judge(measurement, SCORE)], now=NOW + day * DAY)
    later = judge(Measurement(SCORE.name, 98, sample_size=100), SCORE)
    record_verdicts(conn, "p", [later], now=NOW + 2 * DAY, partition_key="2026-10-01")
    assert history(conn, "p", SCORE.name) == [(NOW, 97), (NOW + 2 * DAY, 98)]


def test_a_history_can_be_that_of_one_partition(conn: Connection) -> None:
    verdict = judge(Measurement(SCORE.name, 97, sample_size=100), SCORE)
    for key in ("2026-09-01", "2026-10-01"):
        record_verdicts(conn, "p", [verdict], now=NOW, partition_key=key)
    assert len(history(conn, "p", SCORE.name, partition_key="2026-10-01")) == 1


def test_the_parts_of_a_value_are_kept_with_it(conn: Connection) -> None:
    measured = Measurement(SCORE.name, 97, sample_size=500, parts={"validity": 91.5})
    record_verdicts(conn, "p", [judge(measured, SCORE)], now=NOW)

    (found,) = observations(conn, "p", SCORE.name)

    assert found.parts == {"validity": 91.5}
