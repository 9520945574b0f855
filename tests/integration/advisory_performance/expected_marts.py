"""The marts computed once more, in plain Python, from the same rows of silver and gold."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from pipeline_platform.advisory_performance.tables import RETURN_COLUMNS

Row = dict[str, Any]


def account_performance(returns: Iterable[Row], figures: Iterable[Row]) -> list[Row]:
    """Flows and fees of the month, everything else as on its last day."""
    ruled = _grouped(figures, lambda one: (one["as_of_month"], one["account_id"]))
    rows = []
    for key, days in _grouped(
        _current(returns), lambda one: (one["as_of_month"], one["account_id"])
    ).items():
        last = max(days, key=lambda one: one["as_of_date"])
        fees = [one["fees"] for one in days if one["fees"] is not None]
        statuses = Counter(one["reconciliation_status"] for one in ruled.get(key, []))
        is_open = any(count for name, count in statuses.items() if name not in _CLOSED)
        rows.append(
            {
                "as_of_month": key[0],
                "account_id": key[1],
                **{name: last[name] for name in ("vendor", "currency", "account_class")},
                "as_of_date": last["as_of_date"],
                "closing_value": last["market_value"],
                "net_external_flow": sum(one["net_external_flow"] for one in days),
                "fees": sum(fees) if fees else None,
                **{name: last[name] for name in RETURN_COLUMNS if not name.endswith("_daily")},
                "record_start_date": last["record_start_date"],
                "day_count": len(days),
                "estimated_day_count": sum(one["is_estimated"] for one in days),
                "breach_count": statuses["BREACH"],
                "is_reconciled": statuses["COMPLETED"] > 0 and not is_open,
            }
        )
    return rows


def vendor_reconciliation_daily(figures: Iterable[Row]) -> list[Row]:
    """Both rates of a vendor's day, each over its own whole (X-11)."""
    rows = []
    for key, found in _grouped(
        figures, lambda one: (one["as_of_month"], one["vendor"], one["as_of_date"])
    ).items():
        statuses = Counter(one["reconciliation_status"] for one in found)
        gaps = [abs(one["difference_bps"]) for one in found if one["difference_bps"] is not None]
        causes = Counter(one["probable_cause"] for one in found if one["probable_cause"])
        compared = statuses["COMPLETED"] + statuses["BREACH"]
        rows.append(
            {
                "as_of_month": key[0],
                "vendor": key[1],
                "as_of_date": key[2],
                "figure_count": len(found),
                "completed_count": statuses["COMPLETED"],
                "breach_count": statuses["BREACH"],
                "missing_vendor_count": statuses["MISSING_VENDOR"],
                "missing_ours_count": statuses["MISSING_OURS"],
                "pending_count": statuses["PENDING"],
                "pass_rate_pct": _share(statuses["COMPLETED"], len(found) - statuses["PENDING"]),
                "violation_rate_pct": _share(statuses["BREACH"], compared),
                "mean_absolute_difference_bps": (
                    _rounded(sum(map(Fraction, gaps), Fraction(0)) / len(gaps), 6) if gaps else None
                ),
                "largest_absolute_difference_bps": max(gaps, default=None),
                "most_frequent_cause": min(
                    causes, key=lambda cause: (-causes[cause], cause), default=None
                ),
            }
        )
    return rows


def quality_summary(
    valuations: Iterable[Row], returns: Iterable[Row], restatements: Iterable[Row]
) -> list[Row]:
    """Account-days that came against those that the vendor's own days let expect (SA-84)."""
    measured = _grouped(_current(returns), lambda one: (one["as_of_month"], one["vendor"]))
    restated = _grouped(restatements, lambda one: (one["as_of_month"], one["vendor"]))
    rows = []
    for key, found in _grouped(valuations, lambda one: (one["as_of_month"], one["vendor"])).items():
        accounts: dict[str, set[date]] = defaultdict(set)
        for one in found:
            accounts[one["account_id"]].add(one["as_of_date"])
        vendor_days = {one["as_of_date"] for one in found}
        corrected = {
            (one["account_id"], one["as_of_date"]) for one in found if not one["is_current"]
        }
        delivered = sum(map(len, accounts.values()))
        expected = sum(
            min(days) <= day <= max(days) for days in accounts.values() for day in vendor_days
        )
        days = measured.get(key, [])
        estimated = sum(one["is_estimated"] for one in days)
        rows.append(
            {
                "as_of_month": key[0],
                "vendor": key[1],
                "account_count": len(accounts),
                "account_day_count": delivered,
                "expected_account_day_count": expected,
                "completeness_pct": _share(delivered, expected),
                "corrected_account_day_count": len(corrected),
                "correction_rate_pct": _share(len(corrected), delivered),
                "estimated_account_day_count": estimated,
                "estimation_rate_pct": _share(estimated, len(days)),
                "unmeasurable_account_day_count": sum(
                    one["return_status"] == "non_positive_base" for one in days
                ),
                "material_restatement_count": sum(
                    one["is_material"] for one in restated.get(key, [])
                ),
            }
        )
    return rows


def composite_members(returns: Iterable[Row], month: date) -> list[tuple[Row, Row]]:
    """Return the members of every composite of a month: their rows at its beginning and end."""
    days = _current(returns)
    before = (month - timedelta(days=1)).replace(day=1)
    first, last = _rows_at_end(days, before), _rows_at_end(days, month)
    return [
        (first[account], end)
        for account, end in sorted(last.items())
        if account in first
        and first[account]["account_class"] == end["account_class"]
        and first[account]["currency"] == end["currency"]
        and first[account]["market_value"] > 0
        and end["record_start_date"] < month
        and end["net_return_mtd"] is not None
    ]


def composite_returns(returns: list[Row], months: Iterable[date]) -> list[Row]:
    """Asset-weighted by beginning values; dispersion of more than five members (GIPS)."""
    rows = []
    for month in months:
        members = composite_members(returns, month)
        for (kind, currency), found in _grouped(
            members, lambda pair: (pair[1]["account_class"], pair[1]["currency"])
        ).items():
            net = [Fraction(end["net_return_mtd"]) for _, end in found]
            gross = [end["gross_return_mtd"] for _, end in found]
            assets = [Fraction(begin["market_value"]) for begin, _ in found]
            mean = sum(net) / len(net)
            variance = sum((one - mean) ** 2 for one in net) / len(net)
            rows.append(
                {
                    "as_of_month": month,
                    "composite": f"{kind} {currency}",
                    "account_class": kind,
                    "currency": currency,
                    "account_count": len(found),
                    "beginning_assets": sum(begin["market_value"] for begin, _ in found),
                    "ending_assets": sum(end["market_value"] for _, end in found),
                    "net_return": _weighted(net, assets),
                    "gross_return": (
                        None if None in gross else _weighted(list(map(Fraction, gross)), assets)
                    ),
                    "internal_dispersion": (
                        _rounded(Fraction(math.sqrt(variance)), 12) if len(found) > 5 else None
                    ),
                }
            )
    return rows


_CLOSED = ("COMPLETED", "PENDING")


def _rows_at_end(days: Iterable[Row], month: date) -> dict[str, Row]:
    of_month = [one for one in days if one["as_of_month"] == month]
    last: dict[str, Row] = {}
    for one in sorted(of_month, key=lambda one: one["as_of_date"]):
        last[one["account_id"]] = one
    end = max((one["as_of_date"] for one in of_month), default=month)
    return {
        account: one
        for account, one in last.items()
        if end - one["as_of_date"] <= timedelta(days=4)
    }


def _weighted(values: list[Fraction], weights: list[Fraction]) -> Decimal:
    total = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return _rounded(total / sum(weights), 12)


def _current(rows: Iterable[Row]) -> list[Row]:
    return [one for one in rows if one["is_current"]]


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for one in rows:
        groups[key(one)].append(one)
    return dict(sorted(groups.items()))


def _share(part: int, whole: int) -> Decimal | None:
    return _rounded(Fraction(100 * part, whole), 4) if whole else None


def _rounded(number: Fraction, digits: int) -> Decimal:
    away = math.floor(abs(number) * 10**digits + Fraction(1, 2))
    found = Decimal(away if number >= 0 else -away).scaleb(-digits)
    return found.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
