"""`docs/tested_rows.csv` names, for rows of the requirements without a number, what shows each."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from tests.integration.api.test_unexpected import ENDPOINTS

ROOT = Path(__file__).parents[2]
ROWS = list(csv.DictReader((ROOT / "docs" / "tested_rows.csv").open(encoding="utf-8")))


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['row']} {row['test'][-30:]}")
def test_the_test_that_shows_a_row_exists(row: dict[str, str]) -> None:
    path, _, name = row["test"].partition("::")
    assert re.search(rf"^ *def {name}\(", source(path), re.MULTILINE)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_is_on_its_page(method: str, path: str) -> None:
    """SC-13."""
    page = source("docs/http.md")
    assert f"`{method} {path}`" in page or f"`{path}`" in page
