"""A setting with a wrong value: where Dagster loads the definitions it says so in one sentence."""

import runpy
import sys

import pytest
from dagster._utils.error import SerializableErrorInfo, serializable_error_info_from_exc_info

from pipeline_platform.failures import InvalidSettingError


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> SerializableErrorInfo:
    """What Dagster's UI and command line show of the failure to load."""
    monkeypatch.setenv("PLATFORM_THREADS", "none")
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    try:
        runpy.run_module("pipeline_platform.definitions")
    except InvalidSettingError:
        return serializable_error_info_from_exc_info(sys.exc_info())
    pytest.fail("It was loaded.")


def test_it_names_the_setting(shown: SerializableErrorInfo) -> None:
    assert "The setting PLATFORM_THREADS can't be used" in shown.message


def test_it_is_one_line_without_places_of_the_code(shown: SerializableErrorInfo) -> None:
    assert (shown.stack, shown.cause, shown.message.strip().count("\n")) == ([], None, 0)
