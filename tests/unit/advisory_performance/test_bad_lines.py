"""A bad line is rejected with rule and reason; its neighbours are read."""

import gzip

import pytest
import yaml

from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.advisory_performance.vendors import VENDORS_FOLDER
from tests.unit.advisory_performance.written_deliveries import (
    MAPPINGS,
    STANDARD_HEADER,
    fixed_width_bytes,
    flow,
    read,
    standard_file,
    standard_line,
    valuation,
)

POSITION = b'{"kind":"position","account":{"id":"1"},"date":"2026-10-01","nav":"1"}\n'


def _meridian(**options: str) -> bytes:
    return fixed_width_bytes(MAPPINGS["meridian"], [valuation(), flow()], **options)


LINE_FAULTS = {
    "too few fields": ("A,2026-10-01,1", "ragged_row"),
    "too many fields": (standard_line() + ",", "ragged_row"),
    "no account": (standard_line(""), "missing_account"),
    "blank account": (standard_line("   "), "missing_account"),
    "no date": (standard_line(day=""), "missing_date"),
    "no day": (standard_line(day="2026-02-30"), "invalid_date"),
    "other format": (standard_line(day="01.10.2026"), "invalid_date"),
    "tomorrow": (standard_line(day="2026-11-21"), "future_date"),
    "year 9999": (standard_line(day="9999-12-31"), "future_date"),
    "before 1990": (standard_line(day="1989-12-31"), "date_too_early"),
    "NUL": (standard_line("A\x00"), "nul_character"),
    "stray quote": (standard_line('A"').replace('A"', '"A" x'), "malformed_quoting"),
    "quote never closed": (standard_line('"A'), "malformed_quoting"),
}


@pytest.mark.parametrize(("line", "rule"), LINE_FAULTS.values(), ids=LINE_FAULTS)
def test_a_bad_line_is_rejected_and_its_neighbours_are_read(tmp_path, line, rule):
    reading = read(tmp_path, standard_file(standard_line("A"), line, standard_line("B")))

    assert (reading.values("account_id"), reading.rules) == (["A", "B"], [(3, rule)])


def test_an_undecodable_line_is_rejected_and_its_neighbours_are_read(tmp_path):
    content = standard_file(standard_line("A"), "X", standard_line("B")).replace(
        b"X", b"\xe9\xff,1"
    )

    reading = read(tmp_path, content)

    assert (reading.values("account_id"), reading.rules) == (["A", "B"], [(3, "undecodable")])


@pytest.mark.parametrize(
    ("content", "record"),
    [(b"\xe9,\x00", "\\xe9,\\x00"), (b"caf\xc3\xa9,\x00", "café,\\x00"), (b"a\tb", "a\tb")],
)
def test_a_rejected_record_is_text_that_every_database_takes(tmp_path, content, record):
    reading = read(tmp_path, standard_file(standard_line(), "X").replace(b"X", content))

    assert [line.record for line in reading.delivery.rejected] == [record]


def test_a_rejected_line_says_line_column_value_and_format(tmp_path):
    reading = read(tmp_path, standard_file(standard_line(day="soon"), standard_line()))

    line = next(iter(reading.delivery.rejected))

    assert (line.column, line.reason) == (
        "as_of_date",
        "Line 2 has an as-of date 'soon' that is no day in the format %Y-%m-%d.",
    )


def test_today_and_the_first_day_of_1990_are_read(tmp_path):
    content = standard_file(standard_line(day="2026-11-20"), standard_line(day="1990-01-01"))

    assert read(tmp_path, content).values("as_of_date") == ["2026-11-20", "1990-01-01"]


def test_quotes_that_never_close_do_not_swallow_the_rest(tmp_path):
    lines = [standard_line('"A' if number == 50 else f"A{number}") for number in range(500)]

    reading = read(tmp_path, standard_file(*lines))

    assert (len(reading.rows), reading.rules) == (499, [(52, "malformed_quoting")])


def test_a_quote_within_an_unquoted_field_is_text(tmp_path):
    reading = read(tmp_path, standard_file(standard_line('5" pipe'), standard_line('"B"')))

    assert reading.values("account_id") == ['5" pipe', "B"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + standard_file(standard_line("A"), standard_line("B")),
        standard_file(standard_line("A"), standard_line("B")).replace(b"\n", b"\r\n"),
        standard_file(standard_line("A"), standard_line("B")).rstrip(b"\n"),
        standard_file("", standard_line("A"), "  ", "\t", standard_line("B"), "", ""),
        standard_file(standard_line("A"), standard_line('"B"')).replace(b"\n", b"\r\n"),
    ],
    ids=["utf-8 mark", "CRLF", "no final line end", "blank lines", "CRLF and quotes"],
)
def test_harmless_differences_are_read(tmp_path, content):
    reading = read(tmp_path, content)

    assert (reading.values("account_id"), reading.values("currency")) == (["A", "B"], ["USD"] * 2)


HOSTILE = [
    "'; DROP TABLE vendor_rows; --",
    '=HYPERLINK("http://evil","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "{{7*7}}${7*7}",
    "../../etc/passwd",
    "\u202egnp.exe",
    "👩‍👩‍👧‍👦\U0001d518\U00020bb7",
    'a "quoted" b',
    "two\nlines",
    "two\r\nlines",
    "comma,semicolon;tab\t",
    "a\u2028\u2029\x85\x0b\x1cb",
    "%s%n%d\\u0041\\",
    "NULL",
    "ﷺ" * 500,
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_in_every_field_of_a_csv_is_kept_verbatim(tmp_path, hostile):
    columns = STANDARD_HEADER.split(",")
    cell = '"' + hostile.replace('"', '""') + '"'
    cells = [cell if name != "as_of_date" else "2026-10-01" for name in columns]

    row = read(tmp_path, standard_file(",".join(cells))).rows[0]

    assert [row[name] for name in columns if name not in {"as_of_date", "account_id"}] == [
        hostile
    ] * 6


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_account_is_only_stripped(tmp_path, hostile):
    cell = '"' + hostile.replace('"', '""') + '"'

    row = read(tmp_path, standard_file(standard_line(cell))).rows[0]

    assert row["account_id"] == hostile.strip()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_date_is_rejected_with_its_record(tmp_path, hostile):
    cell = '"' + hostile.replace('"', '""') + '"'

    reading = read(tmp_path, standard_file(standard_line(), standard_line(day=cell)))

    assert [(line.rule, cell in line.record) for line in reading.delivery.rejected] == [
        ("invalid_date", True)
    ]


JSON_FAULTS = {
    "no JSON": ("{", "malformed_json"),
    "an array": ("[1]", "malformed_json"),
    "two objects": ("{} {}", "malformed_json"),
    "a list as value": ('{"kind":"position","nav":[1]}', "malformed_json"),
    "nested 100,000 deep": ('{"a":' * 100_000, "malformed_json"),
    "nested lists": ("[" * 100_000, "malformed_json"),
    "a key twice": ('{"nav":1,"nav":2}', "duplicate_key"),
    "a path twice": ('{"account":{"id":1},"account.id":2}', "duplicate_key"),
    "unknown key": ('{"kind":"position","price":1}', "unknown_column"),
    "unknown kind": (
        '{"kind":"x","account":{"id":"1"},"date":"2026-10-01"}',
        "unknown_record_type",
    ),
    "no kind": ('{"account":{"id":"1"},"date":"2026-10-01"}', "unknown_record_type"),
    "no account": ('{"kind":"position","date":"2026-10-01"}', "missing_account"),
    "escaped NUL": ('{"kind":"position","nav":"\\u0000"}', "nul_character"),
    "lone surrogate": ('{"kind":"position","nav":"\\ud800"}', "undecodable"),
    "raw line feed escape": ('{"nav":"\x01"}', "malformed_json"),
}


@pytest.mark.parametrize(("line", "rule"), JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_a_bad_json_line_is_rejected_and_its_neighbours_are_read(tmp_path, line, rule):
    content = gzip.compress(POSITION + line.encode() + b"\n" + POSITION)

    reading = read(tmp_path, content, "harbor")

    assert (reading.values("line_number"), reading.rules) == ([1, 3], [(2, rule)])


def _with_line(line: str, **options: str) -> bytes:
    head, first, *rest = _meridian(row_count="3", **options).decode().splitlines()
    return "\n".join([head, first, line, *rest]).encode()


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("VAL short", "ragged_row"),
        ("VAL" + "x" * 98, "ragged_row"),
        ("XYZ" + " " * 97, "unknown_record_type"),
        (f"VAL{'1':>10}20270101USD{'0':>20}".ljust(100), "future_date"),
        (f"VAL{' ':>10}20261001USD{'0':>20}".ljust(100), "missing_account"),
    ],
)
def test_a_bad_fixed_width_line_is_rejected_and_counted_in_the_trailer(tmp_path, line, rule):
    reading = read(tmp_path, _with_line(line), "meridian")

    assert (reading.values("line_number"), reading.rules) == ([2, 4], [(3, rule)])


def test_an_amount_that_a_cut_off_line_still_holds_counts_for_the_total(tmp_path):
    content = _with_line(f"VAL{'1':>10}20261001USD{'7.00':>20}", total="132.00")

    assert read(tmp_path, content, "meridian").rules == [(3, "ragged_row")]


def test_a_delimited_file_may_be_gzip_if_its_mapping_says_so(tmp_path):
    values = yaml.safe_load((VENDORS_FOLDER / "standard.yaml").read_text())
    values["format"]["compression"] = "gzip"

    content = gzip.compress(standard_file(standard_line()))

    assert read(tmp_path, content, mapping=VendorMapping(**values)).values("line_number") == [2]
