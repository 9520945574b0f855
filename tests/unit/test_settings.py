"""What may be set, and what is refused with a sentence that says what to do."""

import pytest

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.settings import Settings


def test_a_memory_limit_with_which_nothing_works_is_refused() -> None:
    with pytest.raises(
        InvalidSettingError,
        match="PLATFORM_MEMORY_LIMIT is 127MB, but no run works with less than 128MB",
    ):
        Settings.from_env({"PLATFORM_MEMORY_LIMIT": "127MB"})


def test_duckdb_uses_fewer_threads_under_the_smallest_limit() -> None:
    small, large = (
        Settings.from_env({"PLATFORM_MEMORY_LIMIT": limit, "PLATFORM_THREADS": "2"})
        for limit in ("128MB", "2GB")
    )
    assert (small.engine_threads, large.engine_threads) == (1, 2)


def test_files_are_read_side_by_side_only_with_memory_for_it() -> None:
    small, large = (
        Settings.from_env({"PLATFORM_MEMORY_LIMIT": limit, "PLATFORM_THREADS": "2"})
        for limit in ("1GB", "2GB")
    )
    assert (small.files_at_once, large.files_at_once) == (1, 2)


def test_files_that_are_read_side_by_side_share_the_memory_of_one() -> None:
    settings = Settings.from_env({"PLATFORM_MEMORY_LIMIT": "2GB", "PLATFORM_THREADS": "2"})
    assert (settings.engine_memory_limit, settings.file_memory_limit) == ("1000MB", "500MB")


@pytest.mark.parametrize(
    "address",
    ["http://marquez:5000", "https://lineage.example/team/", "file:///var/log/lineage.jsonl"],
)
def test_lineage_goes_to_a_service_or_a_file(address: str) -> None:
    assert Settings.from_env({"PLATFORM_LINEAGE_URL": address}).lineage_url == address


@pytest.mark.parametrize(
    "address", ["http://u:hunter2@marquez:5000", "marquez:5000", "file://lineage.jsonl", "ftp://m"]
)
def test_another_address_for_lineage_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(InvalidSettingError, match="PLATFORM_LINEAGE_URL can't be used") as refused:
        Settings.from_env({"PLATFORM_LINEAGE_URL": address})
    assert address not in str(refused.value)
