"""`vendor`: list, check a file before it is delivered, evidence for the vendor."""

import zipfile
from pathlib import Path

import pytest

from tests.integration.commands.conftest import Processed, Shell

HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency"
)
GOOD = "A-1,2026-01-05,100.00,,,,,USD"


def written(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_list_names_every_vendor(shell: Shell) -> None:
    vendors = {one["vendor"] for one in shell.json("vendor", "list")}
    assert vendors == {"standard", "northgate", "meridian", "harbor"}


def test_a_good_file_is_good(shell: Shell, tmp_path: Path) -> None:
    path = written(tmp_path, "standard_1.csv", HEADER, GOOD)
    result = shell("vendor", "check", path)
    assert (result.exit_code, "standard" in result.stdout) == (0, True)


def test_an_unknown_column_gets_a_suggestion(shell: Shell, tmp_path: Path) -> None:
    path = written(tmp_path, "standard_2.csv", HEADER + ",colour", GOOD + ",red")
    result = shell("vendor", "check", path)
    assert (result.exit_code, "- colour" in result.stdout) == (1, True)


def test_a_file_of_no_vendor_is_refused_with_a_reason(shell: Shell, tmp_path: Path) -> None:
    found = shell.json("vendor", "check", written(tmp_path, "mystery.csv", HEADER, GOOD))
    assert found["refused by"] == "unknown_vendor"


def test_checking_stores_nothing(shell: Shell, tmp_path: Path) -> None:
    shell("vendor", "check", written(tmp_path, "standard_3.csv", HEADER, GOOD))
    assert not shell.home.exists()


@pytest.mark.parametrize("value", ["\x1b]0;owned\x07", "[link=http://x]y[/link]", "\u202e"])
def test_no_value_steers_the_terminal(shell: Shell, tmp_path: Path, value: str) -> None:
    line = f"A-1,2026-01-05,{value},,,,,USD"
    shown = shell("vendor", "check", written(tmp_path, "standard_4.csv", HEADER, line)).stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_evidence_is_a_pack_to_send(processed: Processed, tmp_path: Path) -> None:
    result = processed.shell("vendor", "evidence", "northgate", "--to-folder", str(tmp_path))
    assert result.exit_code == 0, result.output
    (pack,) = tmp_path.glob("*.zip")
    names = {name.rpartition("/")[2] for name in zipfile.ZipFile(pack).namelist()}
    assert {"breaches.csv", "rejected_rows.csv", "reconciliation.csv", "README.md"} <= names


def test_evidence_names_files_that_were_refused(processed: Processed, tmp_path: Path) -> None:
    processed.shell("vendor", "evidence", "harbor", "--to-folder", str(tmp_path))
    (pack,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(pack) as archive:
        name = next(one for one in archive.namelist() if one.endswith("rejected_rows.csv"))
        assert "truncated_gzip" in archive.read(name).decode()


def test_evidence_for_an_unknown_vendor_is_wrong_use(processed: Processed) -> None:
    assert processed.shell("vendor", "evidence", "../etc").exit_code == 2


def test_evidence_before_anything_was_reconciled_is_wrong_use(shell: Shell) -> None:
    assert shell("vendor", "evidence", "northgate").exit_code == 2
