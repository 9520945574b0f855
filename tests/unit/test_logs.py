"""Log lines: their shape, what they never show, and which of them are written at all."""

import json
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.censor import Censor
from pipeline_platform.logs import (
    REQUIRED,
    DayFile,
    JsonLine,
    bound,
    folder_of,
    hashed,
    is_structured,
    set_up,
    told,
)
from pipeline_platform.settings import Settings

PASSWORD = "Tr0ub4dor&3"
URL = "postgresql://etl:Tr0ub4dor%263@db.example:5432/platform"
LOG = logging.getLogger("pipeline_platform.test")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        environment="test",
        log_format="json",
        database_url=URL,
        channels='{"slack": "slack://xoxb-1234567890@channel"}',
    )


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("pipeline_platform")
    handlers, level = [*root.handlers], ours.level
    yield
    for one in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(one)
        one.close()
    ours.setLevel(level)


@pytest.fixture
def lines(settings: Settings) -> Callable[[], list[dict[str, object]]]:
    """Set the log up and return what reads its lines."""
    set_up(settings, "test")

    def read() -> list[dict[str, object]]:
        files = sorted(folder_of(settings).glob("*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    return read


def test_a_line_has_every_field_of_the_required_shape(lines) -> None:
    LOG.info("done")
    (line,) = lines()
    assert set(REQUIRED) <= set(line)
    assert (line["level"], line["status"], line["component"]) == ("INFO", "success", "test")


def test_the_time_is_utc_to_the_millisecond(lines) -> None:
    LOG.info("done")
    (line,) = lines()
    at = str(line["timestamp"])
    assert len(at) == len("2026-11-29T12:00:00.000Z")
    assert abs((datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()) < 60


def test_both_durations_are_given(lines) -> None:
    LOG.info("done", extra=told(duration_ms=1500))
    (line,) = lines()
    assert (line["duration_ms"], line["duration_seconds"]) == (1500, 1.5)


def test_fields_of_a_block_and_of_a_call_come_together(lines) -> None:
    with bound(run_id="r1", pipelineId="web_events"):
        LOG.info("taken", extra=told(file_sha256="ab", rows=3))
    LOG.info("outside")
    inside, outside = lines()
    assert (inside["run_id"], inside["pipelineId"], inside["file_sha256"]) == (
        "r1",
        "web_events",
        "ab",
    )
    assert inside["metadata"] == {"rows": 3}
    assert "run_id" not in outside


def test_a_message_of_several_lines_is_one_line(lines) -> None:
    LOG.info("first\nsecond\r\nthird\u2028fourth")
    assert len(lines()) == 1


def test_a_password_in_an_exception_does_not_reach_the_log(lines, settings) -> None:
    try:
        raise ValueError(f"could not log in to {URL} as etl with {PASSWORD}")  # noqa: TRY301
    except ValueError:
        LOG.exception("no connection: %s", URL)
    text = "".join(path.read_text() for path in folder_of(settings).iterdir())
    assert PASSWORD not in text
    assert "Tr0ub4dor" not in text
    (line,) = lines()
    assert line["error"]["type"] == "ValueError"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user anna.b@company.com failed", "user [e-mail] failed"),
        ("from 192.0.2.17 at 12:30:05", "from [address] at 12:30:05"),
        ("from 2001:db8::17.", "from [address]."),
        ("from ::1, too", "from [address], too"),
        ("password=hunter2 given", "password=*** given"),
        ("'token': 'abc def'", "'token': ***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("key AKIAABCDEFGHIJKLMNOP is old", "key *** is old"),
        ("postgresql://a:b@h/d", "postgresql://***@h/d"),
        ("Key (account_id)=(A-100) exists", "Key (account_id)=(***) exists"),
        ("account_id=A-100 has two", "account_id=*** has two"),
        ("account A-100 has two", "account *** has two"),
        ("account numbers are fine", "account numbers are fine"),
        ("slack://xoxb-1234567890@channel", "***"),
    ],
)
def test_secrets_and_personal_data_are_left_out(settings: Settings, text: str, shown: str) -> None:
    assert Censor(settings).clean(text) == shown


def test_a_hash_and_an_instant_are_left_as_they_are(settings: Settings) -> None:
    text = "file 9f86d081884c7d659a2feaa0c55ad015 of 2026-11-29T12:30:05 in 1.18s"
    assert Censor(settings).clean(text) == text


@given(st.text(), st.text())
def test_whatever_is_said_is_one_object_on_one_line_without_the_secret(
    before: str, after: str
) -> None:
    settings = Settings(home=Path("/nowhere"), environment="test", database_url=URL)
    record = logging.makeLogRecord({"msg": f"{before}{PASSWORD}{after}", "levelno": logging.INFO})
    line = JsonLine("test", Censor(settings)).format(record)
    assert line.splitlines() == [line]
    assert PASSWORD not in json.loads(line)["message"]


def test_who_acts_is_a_hash_that_stays_the_same() -> None:
    assert hashed("anna") == hashed("anna") != hashed("bert")
    assert "anna" not in hashed("anna")


def levels(settings: Settings, level: str | None, **fields: object) -> list[str]:
    """Return the levels that are written of one record of each level."""
    chosen = settings.model_copy(update={"log_level": level})
    set_up(chosen, "test")
    names = ("debug", "info", "warning", "error")
    for name in names:
        LOG.log(getattr(logging, name.upper()), name, extra=told(**fields))
    text = "".join(path.read_text() for path in folder_of(chosen).glob("*.jsonl"))
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_information_is_logged_unless_told_otherwise(settings) -> None:
    assert levels(settings, None) == ["info", "warning", "error"]


def test_a_pipeline_has_its_own_level(settings) -> None:
    assert levels(settings, "error,web_events=debug", pipelineId="web_events")[0] == "debug"


def test_other_pipelines_keep_the_common_level(settings) -> None:
    assert levels(settings, "error,web_events=debug", pipelineId="other") == ["error"]


def test_a_run_has_its_own_level(settings) -> None:
    assert levels(settings, "error", log_level="debug")[0] == "debug"


@pytest.mark.parametrize("level", ["loud", "info,web_events", "info,Web=debug"])
def test_a_level_that_is_none_is_refused(tmp_path: Path, level: str) -> None:
    with pytest.raises(ValueError, match="log_level"):
        Settings(home=tmp_path, log_level=level)


@pytest.mark.parametrize(
    ("environment", "log_format", "is_json"),
    [
        ("production", None, True),
        ("staging", None, True),
        ("local", None, False),
        ("local", "json", True),
        ("production", "human", False),
    ],
)
def test_production_logs_json(tmp_path, environment, log_format, is_json) -> None:
    settings = Settings(home=tmp_path, environment=environment, log_format=log_format)
    assert settings.writes_json_logs == is_json


def test_for_people_warnings_are_on_the_screen_and_no_file_is_made(tmp_path, capsys) -> None:
    settings = Settings(home=tmp_path, environment="test")
    assert not set_up(settings, "test")
    LOG.info("quiet")
    LOG.warning("password=hunter2 is bad")
    assert capsys.readouterr().err == "WARNING: password=*** is bad\n"
    assert not folder_of(settings).exists()


def test_a_process_that_is_set_up_is_not_set_up_again(settings: Settings) -> None:
    set_up(settings, "test")
    assert is_structured("dagster")
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one, DayFile)]
    assert handler.formatter._component == "test"  # type: ignore[union-attr]


def test_a_log_that_can_not_be_written_ends_nothing(settings, capsys) -> None:
    folder_of(settings).write_text("a file stands where the folder should be")
    set_up(settings, "test")
    LOG.error("something")
    assert "could not be added to the log" in capsys.readouterr().err


def _write_many(settings: Settings, name: str) -> None:
    set_up(settings, name)
    for number in range(200):
        LOG.info("line %s %s", number, "x" * 500)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_lines_of_several_processes_never_mix(settings: Settings) -> None:
    forking = multiprocessing.get_context("fork")
    writers = [forking.Process(target=_write_many, args=(settings, f"p{n}")) for n in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    texts = [path.read_text().splitlines() for path in folder_of(settings).glob("*.jsonl")]
    assert len([json.loads(line) for lines in texts for line in lines]) == 800
