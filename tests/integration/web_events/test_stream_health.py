"""The ingester's health against its limits (SW-3): each limit crossed, and kept (SW-19, SW-61)."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.services import Services
from pipeline_platform.streams.reads import record_read
from pipeline_platform.web_events.measures import MEASURES
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
STREAM = "web-events"


@pytest.fixture
def verdict(settings):
    """Judge a threshold after attempts: minutes ago, outcome, minutes behind."""

    def judged(name, attempts, stream=STREAM, retention_hours=24):
        with Services(settings.model_copy(update={"events_stream": stream})) as services:
            with services.database.transaction() as connection:
                for minutes_ago, outcome, behind in attempts:
                    record_read(
                        connection,
                        PIPELINE,
                        STREAM,
                        outcome,
                        run_id="run",
                        now=NOW - timedelta(minutes=minutes_ago),
                        millis_behind_latest=None if behind is None else behind * 60_000,
                        retention_hours=retention_hours if outcome != "FAILED" else None,
                    )
            run = RunContext(services, "checks", lambda: NOW)
            _, found = measure(Scope(run, ()), load_runbook().thresholds[name], MEASURES)
            return found.outcome, found.severity

    return judged


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(10, ("pass", None)), (11, ("fail", "warning")), (61, ("fail", "critical"))],
)
def test_a_stream_that_does_not_answer_is_told_of(verdict, minutes, expected):
    assert verdict("stream_silence", [(minutes, "EMPTY", 0), (1, "FAILED", None)]) == expected


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(60, ("pass", None)), (61, ("fail", "warning")), (241, ("fail", "critical"))],
)
def test_a_stream_that_is_behind_is_told_of(verdict, minutes, expected):
    assert verdict("stream_iterator_age", [(1, "PUBLISHED", minutes)]) == expected


@pytest.mark.parametrize(
    ("minutes_ago", "behind", "expected"),
    [
        (20, 700, ("pass", None)),
        (21, 700, ("fail", "warning")),
        (1, 1079, ("fail", "warning")),
        (1081, 0, ("fail", "critical")),
    ],
)
def test_records_that_come_near_their_retention_unread_are_told_of(
    verdict, minutes_ago, behind, expected
):
    attempts = [(minutes_ago, "PUBLISHED", behind), (0, "FAILED", None)]
    assert verdict("stream_retention_used", attempts) == expected


def test_a_longer_retention_leaves_more_time(verdict):
    attempts = [(1081, "EMPTY", 0)]
    assert verdict("stream_retention_used", attempts, retention_hours=168) == ("pass", None)


def test_a_stream_that_never_said_its_retention_is_not_measurable(verdict):
    attempts = [(1, "EMPTY", 0)]
    found = verdict("stream_retention_used", attempts, retention_hours=None)
    assert found == ("not_measurable", None)


@pytest.mark.parametrize(("failed", "expected"), [(2, ("pass", None)), (3, ("fail", "critical"))])
def test_too_many_failed_reads_are_told_of(verdict, failed, expected):
    attempts = [(5, "FAILED", None)] * failed + [(6, "EMPTY", 0)] * (40 - failed)
    assert verdict("stream_error_rate", attempts) == expected


def test_a_few_reads_are_no_rate(verdict):
    assert verdict("stream_error_rate", [(5, "FAILED", None)]) == ("not_measurable", None)


@pytest.mark.parametrize(
    "name",
    ["stream_silence", "stream_iterator_age", "stream_retention_used", "stream_error_rate"],
)
def test_without_a_stream_its_health_is_not_measurable(verdict, name):
    assert verdict(name, [], stream=None) == ("not_measurable", None)
