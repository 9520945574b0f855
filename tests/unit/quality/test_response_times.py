"""Severities and response times against the requirements' own numbers, kept in a table (X-4).

`response_times.csv` is written from the rows of the requirements, not from the runbooks; where two
rows of one runbook disagree it has the stricter.
"""

import csv
from pathlib import Path

import pytest

from tests.unit.quality.test_thresholds_crossed import RUNBOOKS

with Path(__file__).with_name("response_times.csv").open(encoding="utf-8") as file:
    REQUIRED = {
        (row["pipeline"], row["threshold"], row["severity"]): int(row["response_minutes"])
        for row in csv.DictReader(file)
    }
ROWS_WITH_TIMES = {"SW-11", "SW-19", "SW-22", "SW-27", *(f"SW-{row}" for row in range(59, 65))}
BANDS = {
    (pipeline, threshold.name, band.severity): (threshold, band)
    for pipeline, runbook in RUNBOOKS.items()
    for threshold in runbook.thresholds.values()
    for band in threshold.bands
}


@pytest.mark.parametrize("key", REQUIRED, ids="-".join)
def test_a_band_is_answered_in_the_time_of_its_row(key: tuple[str, str, str]) -> None:
    _, band = BANDS[key]
    assert band.response_minutes == REQUIRED[key]


def test_every_band_whose_row_gives_a_time_is_in_the_table() -> None:
    bound = {
        key
        for key, (threshold, _) in BANDS.items()
        if key[0] == "advisory_performance"
        or (not threshold.is_proposed and ROWS_WITH_TIMES & {*threshold.requirements})
    }
    assert bound - set(REQUIRED) == set()
