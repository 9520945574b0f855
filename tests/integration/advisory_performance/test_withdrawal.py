"""A published file can be taken back out of bronze, and read anew."""

import pytest

from pipeline_platform.advisory_performance.ingestion import VendorFiles, ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.failures import NotFoundError
from pipeline_platform.ingestion.withdrawal import read_anew, withdraw_file
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)


@pytest.fixture
def run(settings: Settings):
    with Services(settings) as services:
        yield RunContext(services, "run-1")


@pytest.fixture
def sha256(run: RunContext) -> str:
    content = HEADER + "A-1,2026-10-01,100.00,,,,,USD\nA-1,2026-10-02,101.00,,,,,USD\n"
    run.services.landing(PIPELINE).put("standard_a.csv", content.encode())
    (outcome,) = ingest_arrivals(run)
    return str(outcome.sha256)


def test_a_withdrawn_file_has_no_rows_in_bronze(run, sha256):
    withdraw_file(VendorFiles(run), sha256[:10], "All values are in cents.")

    assert run.services.lake.partitions(VENDOR_ROWS) == {}


def test_a_withdrawn_file_lies_in_quarantine(run, sha256):
    withdraw_file(VendorFiles(run), sha256[:10], "All values are in cents.")

    (file,) = run.services.landing(PIPELINE).list("quarantine")
    assert file.key == f"{sha256}/standard_a.csv"


def test_withdrawing_asks_for_the_months_of_the_file(run, sha256):
    months = withdraw_file(VendorFiles(run), sha256, "All values are in cents.")

    assert months == ("2026-10-01",)


def test_a_file_read_anew_has_its_rows_once(run, sha256):
    read_anew(VendorFiles(run), sha256)

    assert list(run.services.lake.partitions(VENDOR_ROWS).values()) == [2]


def test_an_unknown_hash_is_refused(run, sha256):
    with pytest.raises(NotFoundError, match="no published file"):
        withdraw_file(VendorFiles(run), "ffff", "Not there.")
