"""SA-9: a vendor is a versioned YAML file, validated when it is loaded."""

import hashlib
from datetime import date
from pathlib import Path

import pytest
import yaml

from pipeline_platform.advisory_performance.vendor_mapping import AccountRule, Numbers
from pipeline_platform.advisory_performance.vendors import (
    VENDORS_FOLDER,
    InvalidMappingError,
    load_mapping,
    load_mappings,
    mapping_for,
    parse_day,
)
from pipeline_platform.ingestion.delivery_errors import UnknownVendorError

MAPPINGS = load_mappings()


def _changed(folder: Path, shipped: str = "standard", **changes: object) -> Path:
    values = yaml.safe_load((VENDORS_FOLDER / f"{shipped}.yaml").read_text())
    path = folder / f"{shipped}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


def _fault(path: Path) -> str:
    with pytest.raises(InvalidMappingError) as caught:
        load_mapping(path)
    return str(caught.value)


def test_four_vendors_are_shipped():
    assert sorted(MAPPINGS) == ["harbor", "meridian", "northgate", "standard"]


def test_version_is_the_hash_of_the_mapping_file():
    content = (VENDORS_FOLDER / "harbor.yaml").read_bytes()

    assert MAPPINGS["harbor"].version == hashlib.sha256(content).hexdigest()


def test_a_changed_mapping_has_another_version(tmp_path):
    assert (
        load_mapping(_changed(tmp_path, display_name="X")).version != MAPPINGS["standard"].version
    )


@pytest.mark.parametrize("vendor", sorted(MAPPINGS))
def test_the_example_file_name_finds_its_vendor(vendor):
    assert mapping_for(MAPPINGS[vendor].file_name.example, MAPPINGS).vendor == vendor


def test_only_the_base_name_of_a_file_counts():
    assert mapping_for("2026/10/northgate_20261001.csv", MAPPINGS).vendor == "northgate"


@pytest.mark.parametrize(
    "name", ["unknown.csv", "northgate_20261001.csv.exe", "xnorthgate_20261001.csv", ""]
)
def test_an_unknown_file_name_has_no_vendor(name):
    with pytest.raises(UnknownVendorError, match="No vendor mapping"):
        mapping_for(name, MAPPINGS)


def test_a_file_name_of_two_vendors_is_refused():
    twin = MAPPINGS["standard"].model_copy(update={"vendor": "twin"})

    with pytest.raises(UnknownVendorError, match="standard, twin"):
        mapping_for("standard_1.csv", {**MAPPINGS, "twin": twin})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colums": {}}, "field colums"),
        ({"return_unit": "permille"}, "field return_unit"),
        ({"columns": {"a": "account_id", "d": "as_of_date", "x": "price"}}, "'price'"),
        ({"columns": {"a": "account_id"}}, "nothing is mapped to as_of_date"),
        (
            {"columns": {"a": "account_id", "b": "account_id", "d": "as_of_date"}},
            "'account_id' is fed twice",
        ),
        ({"optional_columns": ["nothing"]}, "optional_columns: 'nothing'"),
        ({"ignored_columns": ["currency"]}, "'currency' stands in columns and in"),
        ({"defaults": {"flow_timing": "noon"}}, "defaults.flow_timing: 'noon'"),
        ({"codes": {"reported_period": {"D": "day"}}}, "codes.reported_period: 'day'"),
        ({"date_formats": ["%d.%m"]}, "date_formats: '%d.%m'"),
        ({"numbers": {"decimal_separator": ",", "thousands_separator": ","}}, "field numbers"),
        ({"account": {"remove_prefix": "("}}, "remove_prefix is not a regular expression"),
        ({"file_name": {"pattern": "(", "example": "x"}}, "pattern is not a regular expression"),
        ({"file_name": {"pattern": "a", "example": "b"}}, "example 'b' does not match"),
        (
            {"flow_sign": {"indicator": {"inflow": ["C"], "outflow": ["D"]}}},
            "flow_sign.indicator and a column",
        ),
        ({"format": {"kind": "delimited", "delimiter": "\n"}}, "delimiter"),
        ({"format": {"kind": "excel"}}, "field format"),
    ],
)
def test_a_faulty_mapping_is_refused_by_file_and_field(tmp_path, changes, named):
    assert named in _fault(_changed(tmp_path, **changes))


def test_a_mapping_is_named_as_its_file(tmp_path):
    assert "field vendor" in _fault(_changed(tmp_path, vendor="other"))


def test_the_refusal_names_the_file(tmp_path):
    assert _fault(_changed(tmp_path, return_unit="x")).startswith(
        "standard.yaml, field return_unit"
    )


def test_broken_yaml_is_refused_by_file_and_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("vendor: broken\ncolumns: [")

    assert "broken.yaml is not valid YAML at line" in _fault(path)


def test_a_position_beyond_the_record_is_refused(tmp_path):
    layout = yaml.safe_load((VENDORS_FOLDER / "meridian.yaml").read_text())["format"]

    assert "beyond the width" in _fault(
        _changed(tmp_path, "meridian", format={**layout, "width": 90})
    )


def test_two_records_of_one_code_are_refused(tmp_path):
    layout = yaml.safe_load((VENDORS_FOLDER / "meridian.yaml").read_text())["format"]

    assert "two records have the same code" in _fault(
        _changed(tmp_path, "meridian", format={**layout, "header_code": "TRL"})
    )


def test_a_folder_without_mappings_is_refused(tmp_path):
    with pytest.raises(InvalidMappingError, match="No vendor mapping"):
        load_mappings(tmp_path)


@pytest.mark.parametrize(
    ("rule", "delivered", "account"),
    [
        (AccountRule(), "  a-1 ", "a-1"),
        (AccountRule(strip=False), " a ", " a "),
        (AccountRule(upper=True), "a-1", "A-1"),
        (AccountRule(zero_pad=5), "42", "00042"),
        (AccountRule(zero_pad=2), "12345", "12345"),
        (AccountRule(upper=True, remove_prefix="NG-", zero_pad=8), "ng-4711", "00004711"),
        (AccountRule(remove_prefix="A|B"), "AB1", "B1"),
        (AccountRule(remove_prefix="NG-", zero_pad=8), "NG-", ""),
    ],
)
def test_account_numbers_are_normalised(rule, delivered, account):
    assert rule.apply(delivered) == account


@pytest.mark.parametrize(
    ("text", "pattern", "day"),
    [
        ("2026-10-01", "%Y-%m-%d", date(2026, 10, 1)),
        (" 2026-10-01 ", "%Y-%m-%d", date(2026, 10, 1)),
        ("1.2.2026", "%d.%m.%Y", date(2026, 2, 1)),
        ("20261001", "%Y%m%d", date(2026, 10, 1)),
        ("2026101", "%Y%m%d", None),
        ("2026-02-30", "%Y-%m-%d", None),
        ("2026-10-01T00:00", "%Y-%m-%d", None),
        ("0000-01-01", "%Y-%m-%d", None),
        ("٢٠٢٦-10-01", "%Y-%m-%d", None),
        ("01x10x2026", "%d.%m.%Y", None),
    ],
)
def test_days_are_read_strictly_by_their_format(text, pattern, day):
    assert parse_day(text, (pattern,)) == day


def test_date_formats_are_tried_in_order():
    assert parse_day("03/04/2026", ("%d/%m/%Y", "%m/%d/%Y")) == date(2026, 4, 3)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1.234.567,89", "1234567.89"),
        ("-5,5", "-5.5"),
        ("+,5", "+.5"),
        ("1234,5", "1234.5"),
        ("12.34", None),
        ("1,2,3", None),
        ("1e3", None),
        ("", None),
    ],
)
def test_numbers_are_read_as_the_vendor_writes_them(text, plain):
    numbers = Numbers(decimal_separator=",", thousands_separator=".")

    assert numbers.plain(text) == plain
