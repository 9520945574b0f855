"""Faults on purpose, each in a ledger that answers: was every one caught, and nothing else.

Three levels: a figure that the vendor computes wrongly (to be named by the cause solver), a row
that can't be right (to be quarantined with a rule), a file that can't be read (likewise).
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal

from pipeline_platform.advisory_performance.samples.accounts import AccountDay

Level = Literal["figure", "row", "file"]
NOTICEABLE = 3e-4
"""A wrong figure must be off by more than this (3 basis points), or nobody could notice it."""
TOTAL_LOSS, TOO_LARGE = -1, 9
"""A figure outside of these is no return at all: its row would be held back, not reconciled."""


@dataclass(frozen=True)
class InjectedFault:
    """One entry of the ledger; `expected` is the cause or the quarantine rule that must name it."""

    level: Level
    kind: str
    expected: str
    vendor: str
    file_name: str = ""
    account_id: str = ""
    as_of_date: date | None = None

    def as_row(self) -> dict[str, str]:
        """Return the entry as text, for a CSV or JSON ledger."""
        return {name: str(value or "") for name, value in asdict(self).items()}


def _with_flow(day: AccountDay, **wrong: object) -> float | None:
    return day.daily_return(**wrong) if day.flow else None  # type: ignore[arg-type]


def _other_timing(day: AccountDay) -> float | None:
    if day.flow is None:
        return None
    other = "start_of_day" if day.flow.timing == "end_of_day" else "end_of_day"
    return day.daily_return(timing=other)


def _other_basis(day: AccountDay) -> float | None:
    if not day.fees:
        return None
    return day.daily_return(basis="net" if day.style.basis == "gross" else "gross")


def _rounded(day: AccountDay) -> float | None:
    """Round to a tenth of a percent; 0 would be what a stale valuation gives."""
    return None if day.flow else round(day.daily_return(), 3) or None


FIGURE_FAULTS: dict[str, Callable[[AccountDay], float | None]] = {
    "return_sign": lambda day: None if day.flow else -day.daily_return(),
    "return_unit": lambda day: None if day.flow else day.daily_return() * 100,
    "rounding": _rounded,
    "flow_timing": _other_timing,
    "flow_sign": lambda day: _with_flow(day, flow_factor=-1),
    "omitted_flow": lambda day: _with_flow(day, flow_factor=0),
    "doubled_flow": lambda day: _with_flow(day, flow_factor=2),
    "gross_net": _other_basis,
    "stale_valuation": lambda day: None if day.flow or day.fees else 0.0,
}
"""How a vendor gets a day's figure wrong, by the cause that must be found; None: not that day."""


def damage_figure(day: AccountDay, source: random.Random) -> InjectedFault | None:
    """Replace the reported daily return by a wrong one, if a noticeable one is possible."""
    true = day.reported.get("daily")
    if true is None or day.value <= 0:
        return None
    kinds = list(FIGURE_FAULTS)
    source.shuffle(kinds)
    for kind in kinds:
        wrong = FIGURE_FAULTS[kind](day)
        if wrong is None or abs(wrong - true) < NOTICEABLE or not TOTAL_LOSS < wrong < TOO_LARGE:
            continue
        day.reported["daily"] = wrong
        return InjectedFault(
            "figure", kind, kind, day.style.vendor, account_id=day.account_id, as_of_date=day.day
        )
    return None
