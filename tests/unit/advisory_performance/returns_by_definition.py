"""Returns computed row by row in exact fractions, straight from docs/returns.md.

Slow and plain on purpose: the property tests compare the vectorised code with it. Growth is a
Fraction; only roots are taken in floating point.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from tests.unit.advisory_performance.return_inputs import Flow, Value

LIMIT = 10**6
SHARES = {"start_of_day": Fraction(1), "end_of_day": Fraction(0)}


@dataclass
class Expected:
    """What a row should say; None = null."""

    account: str
    day: date
    status: str
    record_start: date
    is_estimated: bool
    figures: dict[str, float | None]


@dataclass
class _Day:
    growth: Fraction | None = None
    gross: Fraction | None = None
    is_estimated: bool = False
    is_empty: bool = False


def expected_returns(values: Sequence[Value], flows: Iterable[Flow]) -> list[Expected]:
    flows = [flow for flow in flows if Fraction(flow.amount)]
    result: list[Expected] = []
    for account in sorted({value.account for value in values}):
        own = sorted((each for each in values if each.account == account), key=lambda v: v.day)
        result += _account(own, [flow for flow in flows if flow.account == account])
    return result


def _account(values: list[Value], flows: list[Flow]) -> list[Expected]:
    result: list[Expected] = []
    previous: Value | None = None
    is_open = False
    record_start: date | None = None
    index: Fraction = Fraction(1)
    gross: Fraction | None = Fraction(1)
    kept: list[tuple[date, Fraction, Fraction | None]] = []
    for value in values:
        since = previous.day if previous else value.day - timedelta(days=1)
        todays = [flow for flow in flows if since < flow.day <= value.day]
        is_break = any(flow.currency != value.currency for flow in todays) or (
            previous is not None and previous.currency != value.currency
        )
        todays = [flow for flow in todays if flow.currency == value.currency]
        opening = Fraction(previous.amount) if previous else Fraction(0)
        closing = Fraction(value.amount)
        day = _growth(value, opening, since, todays)
        is_measured = not is_break and day.growth is not None and abs(day.growth - 1) < LIMIT
        is_first = not is_measured and closing > 0 and (opening == 0 or is_break)
        if is_first or (is_measured and not is_open):
            status = "inception"
            record_start, index, gross, kept = value.day, Fraction(1), Fraction(1), []
        elif is_measured:
            status = "measured"
        elif closing == 0 and (opening == 0 or is_break or day.is_empty):
            status = "no_assets"
        else:
            status = "non_positive_base"
        record_start = record_start or value.day
        figures: dict[str, float | None] = {}
        if is_measured:
            assert day.growth is not None
            index *= day.growth
            gross = None if gross is None or day.gross is None else gross * day.gross
        if is_measured or is_first:
            kept.append((value.day, index, gross))
        if is_measured:
            figures["net_return_daily"] = float(day.growth - 1)
            figures["gross_return_daily"] = None if day.gross is None else float(day.gross - 1)
            for basis, position in (("net", 1), ("gross", 2)):
                figures |= _linked(basis, [(k[0], k[position]) for k in kept], record_start)
        is_open = is_first or bool(is_measured and day.growth > 0 and closing > 0)
        result.append(
            Expected(
                value.account,
                value.day,
                status,
                record_start,
                day.is_estimated and is_measured,
                figures,
            )
        )
        previous = value
    return result


def _growth(value: Value, opening: Fraction, since: date, flows: list[Flow]) -> _Day:
    closing = Fraction(value.amount)
    fees = None if value.fees is None else Fraction(value.fees)
    timed = []
    for flow in flows:
        share = SHARES.get(flow.timing, Fraction(flow.weight or "0.5"))
        timed.append((-((value.day - flow.day).days + share), flow.sequence, share, flow))
    timed.sort(key=lambda each: each[:2])
    # Sub-periods: [time left at start, opening, [(time left, share, flow)], closing, time left]
    pieces: list[list] = [[Fraction((value.day - since).days), opening, [], None, None]]
    for minus_left, _, share, flow in timed:
        if flow.before is not None and opening > 0:
            pieces[-1][3:] = [Fraction(flow.before), -minus_left]
            worth = Fraction(flow.before) + Fraction(flow.amount)
            pieces.append([-minus_left, worth, [], None, None])
        else:
            pieces[-1][2].append((-minus_left, share, flow))
    pieces[-1][3:] = [closing, Fraction(0)]

    result = _Day(Fraction(1), Fraction(1))
    for number, (left_at_start, worth, inside, end_worth, left_at_end) in enumerate(pieces):
        has_gap = any(flow.day < value.day for _, _, flow in inside)
        start = left_at_start if has_gap else min(left_at_start, Fraction(1))
        base, gain_base = worth, end_worth
        for left, share, flow in inside:
            length = start - left_at_end
            weight = (left - left_at_end) / length if length > 0 else share
            result.is_estimated |= flow.day < value.day or 0 < weight < 1
            base += weight * Fraction(flow.amount)
            gain_base -= (1 - weight) * Fraction(flow.amount)
        if base <= 0:
            return _Day(None, None, result.is_estimated, base == 0 and len(pieces) == 1)
        added = fees if number == len(pieces) - 1 else Fraction(0)
        result.growth *= gain_base / base
        known = result.gross is not None and added is not None
        result.gross = result.gross * (gain_base + added) / base if known else None
    at_start = sum(
        Fraction(flow.amount) for _, _, share, flow in timed if flow.day == value.day and share == 1
    )
    has_any_gap = any(flow.day < value.day for flow in flows)
    if opening <= 0 and (has_any_gap or opening + at_start <= 0):
        return _Day(None, None, result.is_estimated, is_empty=False)
    return result


def _linked(
    basis: str, kept: list[tuple[date, Fraction | None]], record_start: date
) -> dict[str, float | None]:
    today, now = kept[-1]
    if now is None:
        return {}
    starts = {
        "mtd": today.replace(day=1),
        "qtd": today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1),
        "ytd": today.replace(month=1, day=1),
        "since_inception": record_start,
    }
    figures: dict[str, float | None] = {}
    for period, start in starts.items():
        anchor = [index for when, index in kept if when < start][-1:] or [Fraction(1)]
        figures[f"{basis}_return_{period}"] = float(now / anchor[0] - 1)
    if record_start <= years_before(today, 1):
        whole = 1
        while record_start <= years_before(today, whole + 1):
            whole += 1
        anniversary = years_before(today, whole)
        length = (anniversary - years_before(today, whole + 1)).days
        years = whole + (anniversary - record_start).days / length
        if now >= 0:
            figures[f"{basis}_return_since_inception_annualised"] = float(now) ** (1 / years) - 1
    for period, years in (("one_year", 1), ("three_years", 3), ("five_years", 5)):
        start = years_before(today, years)
        oldest = start - timedelta(days=31)
        anchor = [index for when, index in kept if oldest <= when <= start][-1:]
        if record_start <= start and anchor and now >= 0:
            figures[f"{basis}_return_{period}"] = float(now / anchor[0]) ** (1 / years) - 1
    return figures


def years_before(today: date, years: int) -> date:
    try:
        return today.replace(year=today.year - years)
    except ValueError:
        return today.replace(year=today.year - years, day=28)
