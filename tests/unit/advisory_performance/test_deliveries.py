"""A vendor's file becomes bronze rows: as text, with provenance, every record accounted for."""

import gzip
import json
from datetime import date

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given

from pipeline_platform.advisory_performance.deliveries import LineCounts
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.ingestion.delivery_errors import TrailerMismatchError
from tests.examples import examples
from tests.unit.advisory_performance.written_deliveries import (
    MAPPINGS,
    RECEIVED_AT,
    SHA256,
    delimited_bytes,
    deliver,
    fixed_width_bytes,
    flow,
    json_lines_bytes,
    read,
    reported,
    standard_file,
    standard_line,
    valuation,
)

ROUND_TRIP = examples(
    40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def test_batches_have_the_schema_of_bronze(tmp_path):
    batch = next(iter(deliver(tmp_path, standard_file(standard_line()))))

    assert batch.schema.equals(VENDOR_ROWS.schema)


def test_a_row_carries_values_as_delivered_and_its_provenance(tmp_path):
    row = read(tmp_path, standard_file(" A-1 ,2026-10-01,0100.50,-5,,0.10,mtd,usd")).rows[0]

    assert {name: value for name, value in row.items() if value is not None} == {
        "account_id": "A-1",
        "as_of_date": "2026-10-01",
        "market_value": "0100.50",
        "external_flow": "-5",
        "reported_return": "0.10",
        "reported_period": "mtd",
        "currency": "usd",
        "record_type": "combined",
        "vendor": "standard",
        "file_name": "standard_2026-10-01.csv",
        "file_sha256": SHA256,
        "line_number": 2,
        "received_at": RECEIVED_AT,
        "as_of_month": date(2026, 10, 1),
    }


def test_northgate_is_read_as_latin_1_with_its_own_header(tmp_path):
    content = (
        "Kontonummer;Bewertungstag;Währung;Marktwert;Mittelfluss;Rendite in %;Zeitraum;Berater\r\n"
        "ng-4711;1.10.2026;EUR;1.234,50;-5.000,00;0,1234;T;Müller\r\n"
    ).encode("latin-1")

    row = read(tmp_path, content, "northgate").rows[0]

    assert (row["account_id"], row["as_of_date"], row["market_value"], row["reported_return"]) == (
        "00004711",
        "2026-10-01",
        "1.234,50",
        "0,1234",
    )


def test_meridian_records_become_rows_of_their_own_type(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation(), flow(), reported()])

    assert read(tmp_path, content, "meridian").values("record_type") == [
        "valuation",
        "flow",
        "return",
    ]


def test_meridian_flow_keeps_its_indicator_in_extra(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [flow(direction="D")])

    row = read(tmp_path, content, "meridian").rows[0]

    assert json.loads(row["extra"]) == {"flow_indicator": "D"}


def test_harbor_numbers_keep_their_spelling(tmp_path):
    record = '{"kind":"performance","account":{"id":"hb_7"},"date":"2026-10-01","twr":0.100}'

    row = read(tmp_path, gzip.compress(record.encode()), "harbor").rows[0]

    assert (row["account_id"], row["reported_return"], row["record_type"]) == (
        "000007",
        "0.100",
        "return",
    )


def test_harbor_keeps_declared_extra_columns(tmp_path):
    record = {"kind": "position", "account": {"id": "1"}, "date": "2026-10-01", "batch": "é9"}

    row = read(tmp_path, gzip.compress(json.dumps(record).encode()), "harbor").rows[0]

    assert row["extra"] == '{"batch": "é9"}'


def test_a_null_parent_object_is_nothing_delivered(tmp_path):
    record = b'{"kind":"position","account":{"id":"1"},"date":"2026-10-01","nav":1,"flow":null}'

    assert read(tmp_path, gzip.compress(record), "harbor").values("flow_id") == [None]


def test_columns_may_come_in_any_order(tmp_path):
    header = (
        "currency,reported_period,reported_return,flow_timing,external_flow,"
        "market_value,as_of_date,account_id"
    )

    content = standard_file("USD,daily,0.1,,,7,2026-10-01,A", header=header)

    assert read(tmp_path, content).values("account_id") == ["A"]


def test_line_numbers_are_physical_lines(tmp_path):
    content = standard_file(
        "", standard_line("A"), "", '"B\nC",2026-10-01,1,,,,,', standard_line("D")
    )

    assert read(tmp_path, content).values("line_number") == [3, 5, 7]


def test_large_files_come_in_bounded_batches_with_all_line_numbers(tmp_path):
    lines = [standard_line(f"A{number}") for number in range(120_000)]

    batches = list(deliver(tmp_path, standard_file(*lines)))

    assert (
        max(batch.num_rows for batch in batches) <= 50_000,
        [number for batch in batches for number in batch["line_number"].to_pylist()],
    ) == (True, list(range(2, 120_002)))


def test_records_are_whole_across_the_borders_of_blocks(tmp_path):
    lines = [f'"A{number}\n""x""",2026-10-01,1,,,,,' for number in range(60_000)]

    accounts = read(tmp_path, standard_file(*lines)).values("account_id")

    assert accounts == [f'A{number}\n"x"' for number in range(60_000)]


def test_counts_add_up_by_month(tmp_path):
    content = standard_file(
        standard_line("A", "2026-09-30"),
        standard_line("A", "2026-10-01"),
        standard_line("", "2026-10-02"),
        standard_line("A", "nonsense"),
        "ragged",
    )

    assert read(tmp_path, content).delivery.counts == {
        "": LineCounts(arrived=2, published=0, quarantined=2),
        "2026-09-01": LineCounts(arrived=1, published=1, quarantined=0),
        "2026-10-01": LineCounts(arrived=2, published=1, quarantined=1),
    }


def test_arrived_counts_every_record_once(tmp_path):
    delivery = read(
        tmp_path, standard_file(standard_line(), "ragged", "", standard_line(""))
    ).delivery

    assert (delivery.arrived, delivery.arrived_by_month, len(delivery.rejected)) == (
        3,
        {"2026-10-01": 1},
        2,
    )


def test_rejected_lines_can_be_read_again_and_spill_to_a_file(tmp_path):
    lines = ["x" * 1000 for _ in range(10_000)]

    rejected = read(tmp_path, standard_file(*lines), temp_folder=tmp_path).delivery.rejected

    assert [line.line_number for line in rejected] == [line.line_number for line in rejected]


def test_a_fault_at_the_end_is_kept_for_engines_that_hide_it(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation()], row_count="2")
    delivery = deliver(tmp_path, content, "meridian")

    with pytest.raises(TrailerMismatchError):
        list(delivery)

    assert isinstance(delivery.failure, TrailerMismatchError)


def _texts(encoding: str) -> st.SearchStrategy[str]:
    """Anything a field can hold, but NUL and surrogates."""
    return st.text(
        st.characters(codec=encoding, exclude_characters="\x00", exclude_categories=["Cs"]),
        max_size=12,
    ).map(lambda text: text.replace("\r", "\r\n") if "\n" not in text else text)


FREE_FIELDS = ("market_value", "external_flow", "currency", "reported_return", "reported_period")


def _delivered(rows: list[dict[str, str]]) -> list[tuple[str | None, ...]]:
    return [tuple(row[field] or None for field in FREE_FIELDS) for row in rows]


def _rows(encoding: str) -> st.SearchStrategy[list[dict[str, str]]]:
    row = st.fixed_dictionaries({field: _texts(encoding) for field in FREE_FIELDS})
    return st.lists(row, min_size=1, max_size=8)


def _as_vendor(vendor: str, rows: list[dict[str, str]], day: str) -> list[dict[str, str]]:
    column_of = MAPPINGS[vendor].column_of
    key = {column_of["account_id"]: "1", column_of["as_of_date"]: day}
    return [key | {column_of[field]: text for field, text in row.items()} for row in rows]


def _read_back(reading) -> list[tuple[str | None, ...]]:
    return list(zip(*(reading.values(field) for field in FREE_FIELDS), strict=True))


@ROUND_TRIP
@given(rows=_rows("utf-8"))
def test_standard_gives_back_what_was_written(tmp_path, rows):
    content = delimited_bytes(MAPPINGS["standard"], _as_vendor("standard", rows, "2026-10-01"))

    assert _read_back(read(tmp_path, content)) == _delivered(rows)


@ROUND_TRIP
@given(rows=_rows("latin-1"))
def test_northgate_gives_back_what_was_written(tmp_path, rows):
    content = delimited_bytes(MAPPINGS["northgate"], _as_vendor("northgate", rows, "01.10.2026"))

    assert _read_back(read(tmp_path, content, "northgate")) == _delivered(rows)


@ROUND_TRIP
@given(rows=_rows("utf-8"))
def test_harbor_gives_back_what_was_written(tmp_path, rows):
    vendor_rows = [row | {"kind": "position"} for row in _as_vendor("harbor", rows, "2026-10-01")]
    content = json_lines_bytes(MAPPINGS["harbor"], vendor_rows)

    assert _read_back(read(tmp_path, content, "harbor")) == _delivered(rows)


@ROUND_TRIP
@given(
    amounts=st.lists(
        st.decimals(min_value=-(10**12), max_value=10**12, places=4).map(str),
        min_size=1,
        max_size=20,
    )
)
def test_meridian_gives_back_what_was_written_and_its_total_agrees(tmp_path, amounts):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation(value=text) for text in amounts])

    assert read(tmp_path, content, "meridian").values("market_value") == amounts
