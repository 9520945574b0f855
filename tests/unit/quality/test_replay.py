"""What a replay would do, told before it does it (B-9)."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.quarantine import QuarantinedRow
from pipeline_platform.quality.replay import preview_replay


def _row(line: int, rule: str = "currency_is_a_code", month: str = "2026-10-01") -> QuarantinedRow:
    return QuarantinedRow(
        pipeline="p",
        hop="h",
        file_sha256=f"file-{line % 3}",
        file_name="a.csv",
        vendor="v",
        line_number=line,
        partition_key=month,
        rule=rule,
        reason="because",
        column_name=None,
        record=None,
        run_id="r",
    )


def test_records_that_no_rule_rejects_any_more_pass() -> None:
    assert preview_replay([_row(1), _row(2)], [_row(2)]).passing == 1


def test_what_still_fails_is_counted_by_the_rule_that_rejects_it_now() -> None:
    preview = preview_replay([_row(1), _row(2)], [_row(1, "b"), _row(2, "a")])
    assert preview.still_failing == {"a": 1, "b": 1}


def test_a_stricter_rule_takes_records_out_of_the_table() -> None:
    assert preview_replay([], [_row(1, "new_rule")]).newly_failing == {"new_rule": 1}


def test_a_discarded_record_that_fails_again_is_nothing_new() -> None:
    assert preview_replay([], [_row(1)], discarded={_row(1).place}).changes_nothing


def test_only_months_and_files_that_change_are_named() -> None:
    preview = preview_replay([_row(1, month="2026-09-01"), _row(2)], [_row(2)])
    assert (preview.months, preview.files) == (("2026-09-01",), ("file-1",))


def test_a_record_without_a_month_names_none() -> None:
    assert preview_replay([_row(1, month="")], []).months == ()


_lines = st.sets(st.integers(1, 40))


@given(_lines, _lines)
def test_every_held_record_passes_or_still_fails(held: set[int], rejected: set[int]) -> None:
    preview = preview_replay([_row(n) for n in held], [_row(n) for n in rejected])
    assert preview.held == len(held)


@given(_lines)
def test_judging_the_same_again_changes_nothing(held: set[int]) -> None:
    rows = [_row(n) for n in held]
    assert preview_replay(rows, [replace(row, run_id="later") for row in rows]).changes_nothing
