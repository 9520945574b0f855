"""What makes the demo fail: a check that ends otherwise, and faults that were not caught."""

from dataclasses import replace

import pytest

from pipeline_platform.advisory_performance.samples.faults import InjectedFault
from pipeline_platform.commands.demo_checks import EXPECTED, unexpected_outcomes
from pipeline_platform.commands.sample_faults import event_differences, vendor_differences
from pipeline_platform.definitions import build_defs
from pipeline_platform.services import Services
from pipeline_platform.web_events.samples.events import generate_events
from tests.integration.commands.conftest import Processed
from tests.integration.web_events.event_files import DAY, deliver, ingest, refine_requested, run_of


def test_checks_that_end_as_they_must_are_fine() -> None:
    assert (
        unexpected_outcomes([("a", "conservation", "pass"), ("a", "rows_of_today", "fail")]) == []
    )


@pytest.mark.parametrize(
    ("check", "outcome", "said"),
    [
        ("conservation", "fail", "a: conservation ended as fail, not pass"),
        ("conservation", "not measurable", "a: conservation ended as not measurable, not pass"),
        ("rows_of_today", "pass", "a: rows_of_today ended as pass, not fail"),
        ("conservation", None, "a: conservation was not evaluated"),
        ("rows_of_today", None, "a: rows_of_today was not evaluated"),
    ],
)
def test_a_check_that_ends_otherwise_is_named(check: str, outcome: str | None, said: str) -> None:
    assert unexpected_outcomes([("a", check, outcome)]) == [said]


def test_on_a_small_sample_more_may_be_not_measurable() -> None:
    outcomes = [("a", "data_validity", "not measurable")]
    assert unexpected_outcomes(outcomes, is_small=True) == []


def test_only_checks_that_exist_are_excused(settings) -> None:
    keys = build_defs(settings).resolve_asset_graph().asset_check_keys
    assert set(EXPECTED) <= {key.name for key in keys}


def test_the_vendors_ledger_agrees_with_what_was_caught(processed: Processed) -> None:
    with processed.shell.services() as services:
        assert vendor_differences(services, processed.made) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (InjectedFault("file", "k", "empty_file", "v", "f.csv"), "file in quarantine, not found"),
        (InjectedFault("row", "k", "not_a_number", "v", "f.csv"), "row in quarantine, not found"),
        (InjectedFault("figure", "k", "rounding", "harbor", "", "A", DAY), "breach, not found"),
    ],
)
def test_a_fault_that_was_not_caught_is_named(
    processed: Processed, fault: InjectedFault, said: str
) -> None:
    more = replace(processed.made, faults=[*processed.made.faults, fault])
    with processed.shell.services() as services:
        (found,) = vendor_differences(services, more)
    assert found.startswith(said)


@pytest.mark.parametrize("level", ["file", "row", "figure"])
def test_what_was_caught_without_being_a_fault_is_named(processed: Processed, level: str) -> None:
    number = next(n for n, one in enumerate(processed.made.faults) if one.level == level)
    fewer = replace(processed.made, faults=[
        one for n, one in enumerate(processed.made.faults) if n != number
    ])  # fmt: skip
    with processed.shell.services() as services:
        (found,) = vendor_differences(services, fewer)
    assert "not expected" in found


def test_the_events_ledger_agrees_with_what_was_caught(settings) -> None:
    made = generate_events(DAY, days=2, visitors=8)
    one = next(fault for fault in made.faults if fault.expected == "deduplicated")
    with Services(settings) as services:
        for name, content in made.files:
            deliver(services, name, content)
        run = run_of(services)
        ingest(run)
        refine_requested(run)

        agreed = event_differences(services, made)
        fewer = replace(made, faults=tuple(fault for fault in made.faults if fault is not one))
        differing = event_differences(services, fewer)

    assert agreed == []
    assert [sentence.split(":")[0] for sentence in differing] == [
        "number of copies, not found",
        "number of copies, not expected",
    ]
