"""Which lifecycle rules could take a live snapshot's files away (B-13)."""

import pytest

from pipeline_platform.operations.storage_rules import threats

ARCHIVING = {"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}


def rule(**changes):
    return {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, **ARCHIVING, **changes}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "moves them to GLACIER"),
        ({"Transitions": [{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]}, "to DEEP_ARCHIVE"),
        ({"Transitions": [], "Expiration": {"Days": 3}}, "deletes them"),
        ({"Transitions": [], "Expiration": {"Date": "2027-01-01"}}, "deletes them"),
        ({"Filter": {"Prefix": "lake/silver/"}}, "for lake/silver/ moves"),
        ({"Filter": {"Prefix": "la"}}, "for la moves"),
        ({"Filter": {"And": {"Prefix": "lake/", "ObjectSizeGreaterThan": 9}}}, "for lake/ moves"),
        ({"Filter": {}, "Prefix": "lake/"}, "for lake/ moves"),
    ],
)
def test_a_rule_that_reaches_the_lake_is_named_with_what_it_does(changes, end) -> None:
    (found,) = threats([rule(**changes)], "lake/")
    assert end in found


@pytest.mark.parametrize(
    "changes",
    [
        {"Status": "Disabled"},
        {"Filter": {"Prefix": "logs/"}},
        {"Filter": {"Tag": {"Key": "old", "Value": "yes"}}},
        {"Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}]},
        {"Transitions": [], "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Transitions": [], "NoncurrentVersionExpiration": {"NoncurrentDays": 7}},
    ],
)
def test_a_rule_that_takes_nothing_away_that_is_needed_is_no_threat(changes) -> None:
    assert threats([rule(**changes)], "lake/") == []
