"""What an unknown column probably is: by the similarity of its name and by its values (SA-54).

A guess is an offer to a person, never applied by itself.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from pipeline_platform.advisory_performance.vendor_mapping import Numbers
from pipeline_platform.advisory_performance.vendors import parse_day

Kind = Literal["date", "decimal", "percent", "currency", "code", "text", "empty"]
MINIMUM_SIMILARITY = 0.72

DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y")
NUMBER_FORMATS = (
    Numbers(),
    Numbers(decimal_separator=".", thousands_separator=","),
    Numbers(decimal_separator=",", thousands_separator="."),
    Numbers(decimal_separator=",", thousands_separator=" "),
    Numbers(decimal_separator=".", thousands_separator="'"),
)
_NUMBERS: tuple[Kind, ...] = ("decimal", "percent")
_NAMES: Mapping[str, tuple[tuple[Kind, ...], str]] = {
    "account_id": (
        ("text", "code", "decimal", "date"),
        "account|account number|acct|client account|portfolio|portfolio id|konto|kontonummer|depot"
        "|depotnummer|account.id",
    ),
    "as_of_date": (
        ("date",),
        "date|as of|valuation date|position date|nav date|stichtag|bewertungstag|datum|report date",
    ),
    "market_value": (
        _NUMBERS,
        "nav|value|total value|ending value|end value|balance|marktwert|depotwert|vermoegen|mv|aum",
    ),
    "external_flow": (
        _NUMBERS,
        "flow|cash flow|net flow|contribution|contributions withdrawals|mittelfluss|zufluss"
        "|net contribution|flow amount|amount",
    ),
    "flow_timing": (("code", "text"), "timing|flow time|cash flow timing"),
    "flow_weight": (_NUMBERS, "weight|day weight|flow day weight"),
    "flow_id": (("text", "code", "decimal"), "flow reference|transaction id|transaction"),
    "flow_settlement_date": (("date",), "settlement date|settled|value date|valuta|settle date"),
    "valuation_before_flow": (_NUMBERS, "value before flow|nav before|pre flow value"),
    "fees": (_NUMBERS, "fee|management fee|gebuehren|gebühren|fees charged|advisory fee|kosten"),
    "reported_return": (
        _NUMBERS,
        "return|twr|twrr|performance|perf|daily return|rendite|net return|return pct"
        "|wertentwicklung",
    ),
    "reported_period": (("code", "text"), "period|return period|zeitraum|horizon"),
    "reported_basis": (("code", "text"), "basis|net gross|gross net|return basis"),
    "currency": (("currency", "code"), "ccy|curr|currency code|base currency|währung|waehrung"),
    "fx_rate": (_NUMBERS, "fx|exchange rate|fx rate to base|devisenkurs|kurs"),
    "account_class": (
        ("code", "text"),
        "class|account type|segment|client group|kundengruppe|client segment",
    ),
}


@dataclass(frozen=True)
class ColumnGuess:
    """A column, what its values look like, and the field that it may feed (None: none)."""

    column: str
    field: str | None
    similarity: float
    kind: Kind
    example: str
    distinct: tuple[str, ...] = ()


def kind_of(values: Sequence[str], column: str = "") -> Kind:
    """Return what all values that are not empty look like."""
    found = [value.strip() for value in values if value.strip()]
    if not found:
        return "empty"
    if date_format_of(found):
        return "date"
    if numbers_of([value.rstrip("% ") for value in found]):
        is_percent = any(value.endswith("%") for value in found) or re.search(
            r"%|pct|percent|prozent", column, re.IGNORECASE
        )
        return "percent" if is_percent else "decimal"
    if all(re.fullmatch("[A-Z]{3}", value) for value in found):
        return "currency"
    distinct = set(found)
    if len(distinct) <= 12 and len(distinct) * 4 <= len(found) and max(map(len, distinct)) <= 16:
        return "code"
    return "text"


def date_format_of(values: Sequence[str]) -> str | None:
    """Return the first known format in which every value is a day from 1950 to 2100, if any."""
    for pattern in DATE_FORMATS:
        days = [parse_day(value, (pattern,)) for value in values]
        if days and all(day is not None and 1950 <= day.year <= 2100 for day in days):
            return pattern
    return None


def numbers_of(values: Sequence[str]) -> Numbers | None:
    """Return the first known way in which every value is written as a number, if any."""
    for numbers in NUMBER_FORMATS:
        if values and all(numbers.plain(value) is not None for value in values):
            return numbers
    return None


def guess_columns(
    samples: Mapping[str, Sequence[str]], taken_fields: Collection[str] = ()
) -> list[ColumnGuess]:
    """Return one guess per column; no two columns get the same field, nor a taken one."""
    kinds = {column: kind_of(values, column) for column, values in samples.items()}
    offers = sorted(
        (
            (_similarity(column, field, names), column, field)
            for column in samples
            for field, (allowed, names) in _NAMES.items()
            if field not in taken_fields and kinds[column] in {*allowed, "empty"}
        ),
        key=lambda offer: (-offer[0], offer[1:]),
    )
    chosen: dict[str, tuple[str, float]] = {}
    for similarity, column, field in offers:
        if similarity < MINIMUM_SIMILARITY:
            break
        if column not in chosen and field not in {given for given, _ in chosen.values()}:
            chosen[column] = (field, similarity)
    guesses = []
    for column, values in samples.items():
        found = [value for value in values if value.strip()]
        guess = chosen.get(column)
        distinct = tuple(sorted(set(found)))[:12] if kinds[column] in {"code", "currency"} else ()
        example = found[0] if found else ""
        guesses.append(
            ColumnGuess(
                column=column,
                field=guess[0] if guess else None,
                similarity=guess[1] if guess else 0.0,
                kind=kinds[column],
                example=example,
                distinct=distinct,
            )
        )
    return guesses


def _similarity(column: str, field: str, names: str) -> float:
    words = _plain(column)
    return max(
        SequenceMatcher(None, words, _plain(name)).ratio() for name in (field, *names.split("|"))
    )


def _plain(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    return " ".join(re.findall(r"[^\W_]+", spaced))
