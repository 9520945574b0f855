"""The pack for a vendor: complete, one page to read, safe to open, nothing internal (SA-64)."""

import csv
import io
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.causes import CauseCluster
from pipeline_platform.advisory_performance.evidence import (
    safe_cell,
    write_evidence_pack,
    write_reconciliation_report,
)
from pipeline_platform.advisory_performance.tables import RECONCILIATION
from pipeline_platform.failures import BadInputError
from tests.unit.advisory_performance.sample_accounts import table

NOW = datetime(2024, 4, 2, 9, 30, tzinfo=UTC)
MARCH = (date(2024, 3, 1), date(2024, 3, 31))
REJECTED = pa.schema(
    [
        (name, pa.int64() if name == "line_number" else pa.string())
        for name in (
            "file_sha256",
            "file_name",
            "vendor",
            "line_number",
            "partition_key",
            "rule",
            "reason",
            "column_name",
            "record",
        )
    ]
)
CLUSTERS = [
    CauseCluster("northgate", "flow_timing", 2, 1.0, "2 of 2 breaches of northgate vanish."),
    CauseCluster("harbor", "rounding", 1, 1.0, "1 of 1 breaches of harbor vanish."),
]


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def figure(**columns):
    return {
        "account_id": "A1",
        "as_of_date": date(2024, 3, 5),
        "vendor": "northgate",
        "our_return": Decimal("-0.0123"),
        "vendor_return": Decimal("0.0100"),
        "difference_bps": Decimal(-223),
        "tolerance_bps": Decimal(1),
        "reconciliation_status": "BREACH",
        "probable_cause": "flow_timing",
        "cause_detail": "With all flows ...",
        "vendor_file_sha256": "ab" * 32,
        "vendor_line_number": 7,
        **columns,
    }


def rejection(**columns):
    return {
        "file_sha256": "ab" * 32,
        "file_name": "march.csv",
        "vendor": "northgate",
        "line_number": 9,
        "partition_key": "2024-03-01",
        "rule": "currency_unknown",
        "reason": "The currency QQQ is not known.",
        "column_name": "currency",
        "record": "A1;QQQ",
        **columns,
    }


def pack(con, folder, figures=(), rejected=(), **changed):
    arguments = {"vendor": "northgate", "period": MARCH, "clusters": CLUSTERS, **changed}
    vendor = arguments.pop("vendor")
    return write_evidence_pack(
        con,
        folder,
        vendor,
        reconciliation=con.from_arrow(table(RECONCILIATION.schema, figures)),
        rejected=con.from_arrow(table(REJECTED, rejected)),
        now=NOW,
        file_names={"ab" * 32: "march.csv"},
        **arguments,
    )


def read(archive, name):
    with zipfile.ZipFile(archive) as zipped:
        inside = next(one for one in zipped.namelist() if one.endswith("/" + name))
        return zipped.read(inside).decode()


def cells(archive, name):
    return list(csv.DictReader(io.StringIO(read(archive, name))))


def test_the_pack_is_one_archive_with_all_its_files(con, tmp_path):
    archive = pack(con, tmp_path, [figure()], [rejection()])

    names = {name.rpartition("/")[2] for name in zipfile.ZipFile(archive).namelist()}

    assert names == {
        "README.md",
        "summary.html",
        "breaches.csv",
        "missing_figures.csv",
        "causes.csv",
        "rejected_rows.csv",
        "reconciliation.csv",
    }


def test_a_breach_shows_both_figures_and_where_theirs_came_from(con, tmp_path):
    row = cells(pack(con, tmp_path, [figure()]), "breaches.csv")[0]

    assert (
        row["our_return_pct"],
        row["vendor_return_pct"],
        row["file_name"],
        row["line_number"],
        row["file_sha256"],
    ) == ("-1.2300000000", "1.0000000000", "march.csv", "7", "ab" * 32)


def test_only_breaches_are_among_the_breaches(con, tmp_path):
    completed = figure(reconciliation_status="COMPLETED", account_id="B1", probable_cause=None)

    rows = cells(pack(con, tmp_path, [figure(), completed]), "breaches.csv")

    assert [row["account_id"] for row in rows] == ["A1"]


def test_figures_that_did_not_come_are_listed(con, tmp_path):
    missing = figure(reconciliation_status="MISSING_VENDOR", vendor_return=None)

    assert len(cells(pack(con, tmp_path, [missing]), "missing_figures.csv")) == 1


def test_a_rejected_row_has_its_reason_file_and_line(con, tmp_path):
    row = cells(pack(con, tmp_path, [], [rejection()]), "rejected_rows.csv")[0]

    assert (row["reason"], row["file_name"], row["line_number"]) == (
        "The currency QQQ is not known.",
        "march.csv",
        "9",
    )


def test_causes_are_those_of_this_vendor(con, tmp_path):
    rows = cells(pack(con, tmp_path, [figure()]), "causes.csv")

    assert [row["cause"] for row in rows] == ["flow_timing"]


def test_rows_of_other_vendors_and_days_are_left_out(con, tmp_path):
    figures = [figure(vendor="harbor"), figure(as_of_date=date(2024, 4, 1))]
    rejected = [rejection(vendor="harbor"), rejection(partition_key="2024-04-01")]
    archive = pack(con, tmp_path, figures, rejected)

    assert (cells(archive, "breaches.csv"), cells(archive, "rejected_rows.csv")) == ([], [])


def test_a_rejected_row_without_a_month_is_kept(con, tmp_path):
    archive = pack(con, tmp_path, [], [rejection(partition_key="")])

    assert len(cells(archive, "rejected_rows.csv")) == 1


def test_the_summary_counts_what_is_wrong(con, tmp_path):
    completed = [
        figure(account_id=f"B{n}", reconciliation_status="COMPLETED", probable_cause=None)
        for n in range(3)
    ]
    text = read(pack(con, tmp_path, [figure(), *completed]), "README.md")

    assert "4 figures were compared, 1 differ by more than the tolerance (25.00%)" in text


def test_the_summary_says_what_would_mend_the_breaches(con, tmp_path):
    assert "2 of 2 breaches of northgate vanish." in read(pack(con, tmp_path), "summary.html")


def test_a_pack_without_figures_says_not_measurable(con, tmp_path):
    assert "not measurable" in read(pack(con, tmp_path), "README.md")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_looks_like_a_formula_is_defused(con, tmp_path, start):
    hostile = rejection(record=f"{start}HYPERLINK('x')")

    row = cells(pack(con, tmp_path, [], [hostile]), "rejected_rows.csv")[0]

    assert row["record"] == f"'{start}HYPERLINK('x')"


def test_a_hostile_account_name_is_defused_too(con, tmp_path):
    row = cells(pack(con, tmp_path, [figure(account_id="=1+1")]), "breaches.csv")[0]

    assert row["account_id"] == "'=1+1"


@pytest.mark.parametrize("value", [-1, Decimal("-0.5"), -2.5, date(2024, 3, 5), None, "A-1", ""])
def test_numbers_dates_and_plain_texts_stay_what_they_are(value):
    assert safe_cell(value) == value


@given(st.text())
def test_no_text_cell_ever_begins_like_a_formula(text):
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_delimiters_quotes_and_line_breaks_survive(con, tmp_path):
    record = 'a;"b",\n"c"'

    row = cells(pack(con, tmp_path, [], [rejection(record=record)]), "rejected_rows.csv")[0]

    assert row["record"] == record


def test_the_same_pack_can_be_written_again(con, tmp_path):
    pack(con, tmp_path, [figure()])
    pack(con, tmp_path, [])

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evidence-northgate-2024-03-01-2024-03-31",
        "evidence-northgate-2024-03-01-2024-03-31.zip",
    ]


@pytest.mark.parametrize("vendor", ["../up", "a/b", "", ".hidden", "a b"])
def test_a_vendor_that_would_leave_the_folder_is_refused(con, tmp_path, vendor):
    with pytest.raises(BadInputError):
        pack(con, tmp_path, vendor=vendor)


def test_a_period_that_ends_before_it_starts_is_refused(con, tmp_path):
    with pytest.raises(BadInputError, match="before it starts"):
        pack(con, tmp_path, period=MARCH[::-1])


def test_more_rows_than_one_read_are_all_written(con, tmp_path):
    many = con.from_arrow(table(RECONCILIATION.schema, [figure()])).join(
        con.sql("SELECT unnest(range(12_345)) AS n"), "true"
    )
    relation = many.project(", ".join(RECONCILIATION.schema.names))

    assert write_reconciliation_report(con, tmp_path / "all.csv", relation) == 12_345


def test_the_reconciliation_report_names_status_and_cause(con, tmp_path):
    row = cells(pack(con, tmp_path, [figure()]), "reconciliation.csv")[0]

    assert (row["status"], row["cause"]) == ("BREACH", "flow_timing")
