"""Arrived = published + quarantined + deduplicated + held late, for every file, month and hop."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.conservation import LedgerEntry, find_gaps, find_imbalances

FATES = ("published", "quarantined", "deduplicated", "held_late")
_record = st.tuples(
    st.sampled_from(["file-a", "file-b", "file-c"]),
    st.sampled_from(["", "2026-09-01", "2026-10-01"]),
    st.sampled_from(FATES),
)
_records = st.lists(_record, max_size=60)


def _ledger(records: list[tuple[str, str, str]], hop: str = "first") -> list[LedgerEntry]:
    """Count what a hop that works does with each record."""
    arrived = Counter((file, month) for file, month, _ in records)
    fates = Counter(records)
    return [
        LedgerEntry("p", hop, file, month, count, *(fates[file, month, fate] for fate in FATES))
        for (file, month), count in arrived.items()
    ]


@given(_records)
def test_a_hop_that_gives_every_record_one_fate_balances(
    records: list[tuple[str, str, str]],
) -> None:
    assert find_imbalances(_ledger(records)) == []


@given(_records.filter(bool), st.data(), st.integers(1, 5))
def test_a_hop_that_loses_records_is_named_with_file_month_and_number(
    records: list[tuple[str, str, str]], data: st.DataObject, lost: int
) -> None:
    ledger = _ledger(records)
    place = data.draw(st.integers(0, len(ledger) - 1))
    ledger[place] = replace(ledger[place], arrived=ledger[place].arrived + lost)
    assert [(e.file_sha256, e.partition_key, e.imbalance) for e in find_imbalances(ledger)] == [
        (ledger[place].file_sha256, ledger[place].partition_key, lost)
    ]


@given(_records.filter(bool), st.data())
def test_a_hop_that_doubles_a_record_has_less_than_nothing_left(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    ledger = _ledger(records)
    place = data.draw(st.integers(0, len(ledger) - 1))
    fate = data.draw(st.sampled_from(FATES))
    ledger[place] = replace(ledger[place], **{fate: getattr(ledger[place], fate) + 1})
    assert [entry.imbalance for entry in find_imbalances(ledger)] == [-1]


def _next_hop(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [
        LedgerEntry(
            "p", "second", e.file_sha256, e.partition_key, e.published, e.published, 0, 0, 0
        )
        for e in ledger
    ]


@given(_records)
def test_hops_that_pass_everything_on_have_no_gap(records: list[tuple[str, str, str]]) -> None:
    first = _ledger(records)
    assert find_gaps(first, _next_hop(first)) == []


@given(_records, st.data())
def test_what_is_lost_between_two_hops_is_a_gap(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    first = _ledger([*records, ("file-a", "2026-10-01", "published")])
    second = _next_hop(first)
    received = [place for place, entry in enumerate(second) if entry.arrived]
    lost = second.pop(data.draw(st.sampled_from(received)))
    assert [(g.file_sha256, g.partition_key, g.arrived) for g in find_gaps(first, second)] == [
        (lost.file_sha256, lost.partition_key, 0)
    ]


def test_a_month_that_waits_for_work_is_no_gap() -> None:
    first = _ledger([("file-a", "2026-10-01", "published")])
    assert find_gaps(first, [], pending=["2026-10-01"]) == []
