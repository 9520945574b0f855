"""SA-54: `vendor check` says which mapping applies, what would be read, what fails, what to add."""

import gzip
import json
from datetime import date
from pathlib import Path

import pytest
import yaml

from pipeline_platform.advisory_performance.column_guesses import guess_columns, kind_of
from pipeline_platform.advisory_performance.vendor_check import FileReport, RuleCount, check_file
from pipeline_platform.advisory_performance.vendors import load_mapping
from tests.unit.advisory_performance.written_deliveries import (
    MAPPINGS,
    STANDARD_HEADER,
    TODAY,
    fixed_width_bytes,
    flow,
    read,
    reported,
    standard_file,
    standard_line,
    valuation,
)


def _check(folder: Path, content: bytes, name: str = "standard_1.csv") -> FileReport:
    path = folder / name
    path.write_bytes(content)
    return check_file(path, MAPPINGS, TODAY)


def _suggested(report: FileReport) -> dict:
    return yaml.safe_load(report.suggestion)


def test_a_good_file_is_good(tmp_path):
    assert _check(tmp_path, standard_file(standard_line())).is_good


def test_it_says_what_would_be_read(tmp_path):
    content = standard_file(
        standard_line("A", "2026-10-01"),
        standard_line("A", "2026-10-30"),
        standard_line("B", "2026-09-30"),
        "ragged",
    )

    report = _check(tmp_path, content)

    assert (
        report.arrived,
        report.published,
        report.quarantined,
        report.account_count,
        report.first_day,
        report.last_day,
    ) == (4, 3, 1, 2, date(2026, 9, 30), date(2026, 10, 30))


def test_it_names_mapping_version_and_how_it_was_found(tmp_path):
    report = _check(tmp_path, standard_file(standard_line()))

    assert (report.vendor, report.matched_by, report.mapping_version) == (
        "standard",
        "file_name",
        MAPPINGS["standard"].version,
    )


def test_it_counts_kinds_of_records(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation(), flow(), flow(), reported()])

    report = _check(tmp_path, content, "MERIDIAN.PERF.D20261001.txt")

    assert report.record_types == (("flow", 2), ("return", 1), ("valuation", 1))


def test_rejected_lines_are_counted_by_rule_with_three_examples(tmp_path):
    content = standard_file(standard_line(), *["ragged"] * 5)

    assert _check(tmp_path, content).rejected == (
        RuleCount(
            "ragged_row",
            5,
            tuple(f"Line {line} has 1 fields, the header has 8." for line in (3, 4, 5)),
        ),
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (standard_line(value="1,5").replace("1,5", '"1,5"'), "market_value_invalid"),
        (standard_line(value="1e5"), "market_value_invalid"),
        (standard_line().replace("daily", "weekly"), "reported_period_unknown"),
        (standard_line().replace("USD", "Dollar"), "currency_unknown"),
    ],
)
def test_values_that_silver_will_refuse_are_told(tmp_path, line, rule):
    report = _check(tmp_path, standard_file(standard_line(), line))

    assert [(one.rule, one.count, one.examples[0][:7]) for one in report.refused_values] == [
        (rule, 1, "Line 3:")
    ]


def test_a_bad_settlement_day_is_told(tmp_path):
    header = STANDARD_HEADER + ",flow_settlement_date"
    report = _check(tmp_path, standard_file(standard_line() + ",soon", header=header))

    assert [one.rule for one in report.refused_values] == ["flow_settlement_date_invalid"]


def test_a_file_that_would_be_quarantined_tells_rule_and_sentence(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation()], row_count="9")

    report = _check(tmp_path, content, "MERIDIAN.PERF.D20261001.txt")

    assert (report.failure_rule, "states '9' records" in report.failure, report.is_good) == (
        "trailer_mismatch",
        True,
        False,
    )


@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"\x1f\x8b", b"\xff\xfea", b'"'])
@pytest.mark.parametrize(
    "name", ["standard_1.csv", "nobody.bin", "harbor-performance-2026-10-01.jsonl.gz"]
)
def test_no_content_makes_it_crash(tmp_path, content, name):
    assert _check(tmp_path, content, name).failure_rule is not None


def test_a_file_of_another_name_is_matched_by_its_header(tmp_path):
    report = _check(tmp_path, standard_file(standard_line()), "export.csv")

    assert (report.vendor, report.matched_by, report.failure_rule, report.published) == (
        "standard",
        "header",
        "unknown_vendor",
        1,
    )


def test_a_fixed_width_file_of_another_name_is_matched_by_its_records(tmp_path):
    content = fixed_width_bytes(MAPPINGS["meridian"], [valuation()])

    assert _check(tmp_path, content, "export.txt").vendor == "meridian"


def test_a_json_file_of_another_name_is_matched_by_its_keys(tmp_path):
    record = {"kind": "position", "account": {"id": "1"}, "date": "2026-10-01", "nav": "1"}
    content = gzip.compress(json.dumps(record).encode())

    assert _check(tmp_path, content, "export.gz").vendor == "harbor"


def test_an_unknown_column_is_named_and_the_rest_read_as_if_it_were_ignored(tmp_path):
    content = standard_file(standard_line() + ",Miller", header=STANDARD_HEADER + ",advisor")

    report = _check(tmp_path, content)

    assert (report.failure_rule, report.unknown_columns, report.published) == (
        "unknown_column",
        ("advisor",),
        1,
    )


def test_an_unknown_column_that_feeds_nothing_is_suggested_to_be_ignored(tmp_path):
    content = standard_file(standard_line() + ",Miller", header=STANDARD_HEADER + ",advisor")

    assert _suggested(_check(tmp_path, content)) == {"ignored_columns": ["advisor"]}


def test_an_unknown_column_that_is_like_a_field_is_suggested_for_it(tmp_path):
    content = standard_file(
        standard_line() + ",12.50,2026-10-03",
        header=STANDARD_HEADER + ",Management Fee,SettleDate",
    )

    assert _suggested(_check(tmp_path, content))["columns"] == {
        "Management Fee": "fees",
        "SettleDate": "flow_settlement_date",
    }


def test_a_renamed_column_is_recognised(tmp_path):
    header = STANDARD_HEADER.replace("market_value", "Total Market Value")

    report = _check(tmp_path, standard_file(standard_line(), header=header))

    assert (
        report.missing_columns,
        _suggested(report)["columns"],
        "'Total Market Value' seems to be the new name of 'market_value'" in report.suggestion,
    ) == (("market_value",), {"Total Market Value": "market_value"}, True)


def test_unknown_json_keys_are_found_beyond_the_sample(tmp_path):
    record = {"kind": "position", "account": {"id": "1"}, "date": "2026-10-01", "nav": "1"}
    late = {**record, "exchangeRate": 1.25, "flow": None}
    lines = [json.dumps(record)] * 1000 + [json.dumps(late)]
    content = gzip.compress("\n".join(lines).encode())

    report = _check(tmp_path, content, "harbor-performance-2026-10-01.jsonl.gz")

    assert (report.unknown_columns, report.published, _suggested(report)) == (
        ("exchangeRate",),
        1000,
        {"columns": {"exchangeRate": "fx_rate"}},
    )


FOREIGN = (
    "Depotnummer|Stichtag|Depotwert|Zufluss|Performance in %|Währung|Notiz\n"
    + "".join(
        f"D{number % 7}|{1 + number % 28:02d}.10.2026|1.000.{number:03d},50|-5,00|0,12|CHF|x y\n"
        for number in range(40)
    )
).encode("latin-1")


def test_a_file_of_no_vendor_gets_a_whole_mapping_suggested(tmp_path):
    suggestion = _suggested(_check(tmp_path, FOREIGN, "alpenbank_20261001.txt"))

    assert (
        suggestion["columns"],
        suggestion["date_formats"],
        suggestion["numbers"],
        suggestion["return_unit"],
        suggestion["format"],
    ) == (
        {
            "Depotnummer": "account_id",
            "Stichtag": "as_of_date",
            "Depotwert": "market_value",
            "Zufluss": "external_flow",
            "Performance in %": "reported_return",
            "Währung": "currency",
        },
        ["%d.%m.%Y"],
        {"decimal_separator": ",", "thousands_separator": "."},
        "percent",
        {"kind": "delimited", "encoding": "latin-1", "compression": "none", "delimiter": "|"},
    )


def test_the_suggested_mapping_reads_the_file(tmp_path):
    report = _check(tmp_path, FOREIGN, "alpenbank_20261001.txt")
    path = tmp_path / "alpenbank.yaml"
    path.write_text(report.suggestion)

    reading = read(tmp_path, FOREIGN, mapping=load_mapping(path))

    assert (len(reading.rows), reading.rules) == (40, [])


def test_a_suggested_json_mapping_reads_the_file(tmp_path):
    record = {"portfolio": {"id": "P1"}, "valuationDate": "2026-10-01", "nav": 5, "ccy": "USD"}
    content = json.dumps(record).encode()
    report = _check(tmp_path, content, "fjord.jsonl")
    path = tmp_path / "fjord.yaml"
    path.write_text(report.suggestion)

    assert read(tmp_path, content, mapping=load_mapping(path)).values("account_id") == ["P1"]


def test_hostile_columns_and_values_give_valid_yaml(tmp_path):
    hostile = "a: {b}\u2028# '\"\x85👩\\"
    cell = '"' + hostile.replace('"', '""') + '"'
    content = standard_file(f"{standard_line()},{cell}", header=f"{STANDARD_HEADER},{cell}")

    assert _suggested(_check(tmp_path, content)) == {"ignored_columns": [hostile]}


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("x", ["2026-10-01", ""], "date"),
        ("x", ["1.234,50", "-7"], "decimal"),
        ("x", ["1,234.50"], "decimal"),
        ("x", ["1.5%", "2%"], "percent"),
        ("return_pct", ["1.5"], "percent"),
        ("x", ["USD", "EUR"], "currency"),
        ("x", ["a", "b"] * 5, "code"),
        ("x", ["Miller", "Smith"], "text"),
        ("x", ["", " "], "empty"),
    ],
)
def test_values_tell_what_a_column_holds(column, values, kind):
    assert kind_of(values, column) == kind


def test_a_name_alone_is_not_enough_when_the_values_disagree():
    assert guess_columns({"market_value": ["Miller", "Smith"]})[0].field is None


def test_no_two_columns_get_the_same_field():
    guesses = guess_columns({"market_value": ["1"], "market value": ["2"]})

    assert [guess.field for guess in guesses].count("market_value") == 1
