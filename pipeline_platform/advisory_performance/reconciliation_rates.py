"""Shares and spreads that the checks judge: pass rate, violations, variance, completeness."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.reconciliation import (
    BREACH,
    COMPLETED,
    PENDING,
    STATUSES,
)
from pipeline_platform.advisory_performance.relations import as_view

MAX_OFFENDERS = 20
NORMAL_SPREAD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True)
class Rates:
    """How many figures agree (X-11); rates are fractions, None where there is nothing to divide by.

    `counts` has every status. `by_vendor` holds the same per vendor (and is empty inside).
    """

    counts: Mapping[str, int]
    by_vendor: Mapping[str, "Rates"] = field(default_factory=dict)

    @property
    def completed(self) -> int:
        """Figures compared and within tolerance."""
        return self.counts[COMPLETED]

    @property
    def violations(self) -> int:
        """Figures compared and outside of tolerance."""
        return self.counts[BREACH]

    @property
    def reconcilable(self) -> int:
        """All figures but those whose own return is rightly undefined."""
        return sum(self.counts.values()) - self.counts[PENDING]

    @property
    def compared(self) -> int:
        """Figures of which both sides exist."""
        return self.completed + self.violations

    @property
    def pass_rate(self) -> float | None:
        """SA-14, SA-83: completed among reconcilable; a missing counterpart counts against it."""
        return self.completed / self.reconcilable if self.reconcilable else None

    @property
    def violation_rate(self) -> float | None:
        """SA-85: breaches among compared."""
        return self.violations / self.compared if self.compared else None


def rates(con: DuckDBPyConnection, reconciliation: DuckDBPyRelation) -> Rates:
    """Count the rows of RECONCILIATION by status, in all and per vendor (SA-14, SA-83, SA-85)."""
    rows = con.execute(f"""
        SELECT vendor, reconciliation_status, count(*)
        FROM {as_view(reconciliation)} GROUP BY ALL ORDER BY ALL""").fetchall()
    by_vendor: dict[str, dict[str, int]] = {}
    for vendor, status, count in rows:
        by_vendor.setdefault(vendor, dict.fromkeys(STATUSES, 0))[status] = count
    total = {status: sum(one[status] for one in by_vendor.values()) for status in STATUSES}
    return Rates(total, {vendor: Rates(counts) for vendor, counts in by_vendor.items()})


@dataclass(frozen=True)
class Spread:
    """The spread of one day's figures across accounts against that of the days before.

    `dispersion` is the standard deviation, in the unit of the figures; `usual` the median of the
    days before; `ratio` their quotient. `robust_z` says how many usual deviations (scaled median
    absolute deviation of the logarithms) the day lies above the median. Where `reason` says why,
    the last three are None.
    """

    as_of_date: date
    account_count: int
    dispersion: float | None
    history_days: int
    usual: float | None = None
    ratio: float | None = None
    robust_z: float | None = None
    reason: str | None = None


def return_variance(
    con: DuckDBPyConnection,
    returns: DuckDBPyRelation,
    history: DuckDBPyRelation,
    *,
    minimum_accounts: int = 5,
    minimum_days: int = 10,
) -> list[Spread]:
    """Measure "high variance of calculations" (SA-62): our daily net returns across accounts.

    Both relations have the columns of TIME_WEIGHTED_RETURNS; current, measured rows count. Each
    day of `returns` is compared with the days of `history` and `returns` before it. A day or a
    history with fewer accounts or days than the minima is not measured.
    """
    figure = "net_return_daily::DOUBLE"
    where = "is_current AND return_status = 'measured'"
    return _spreads(con, returns, history, figure, where, minimum_accounts, minimum_days)


def difference_variance(
    con: DuckDBPyConnection,
    reconciliation: DuckDBPyRelation,
    history: DuckDBPyRelation,
    *,
    minimum_accounts: int = 5,
    minimum_days: int = 10,
) -> list[Spread]:
    """Measure the same (SA-62) on the differences between our and the vendors' daily returns.

    Both relations have the columns of RECONCILIATION; the unit is basis points.
    """
    figure, where = "difference_bps::DOUBLE", "period = 'daily'"
    return _spreads(con, reconciliation, history, figure, where, minimum_accounts, minimum_days)


def _spreads(
    con: DuckDBPyConnection,
    today: DuckDBPyRelation,
    history: DuckDBPyRelation,
    figure: str,
    where: str,
    minimum_accounts: int,
    minimum_days: int,
) -> list[Spread]:
    rows = con.execute(f"""
        WITH days AS (
            SELECT as_of_date, bool_or(is_today) AS is_today, count(*) AS accounts,
                stddev_samp(figure) AS dispersion
            FROM (
                SELECT as_of_date, account_id, {figure} AS figure, true AS is_today
                FROM {as_view(today)} WHERE {where}
                UNION ALL
                SELECT as_of_date, account_id, {figure}, false
                FROM {as_view(history)} WHERE {where}
                    AND as_of_date NOT IN (SELECT as_of_date FROM {as_view(today)})
            ) WHERE figure IS NOT NULL GROUP BY as_of_date
        ),
        compared AS (
            SELECT day.as_of_date, day.accounts, day.dispersion, count(past.dispersion) AS days,
                median(past.dispersion) AS usual, median(ln(past.dispersion)) AS centre,
                mad(ln(past.dispersion)) * {NORMAL_SPREAD} AS deviation
            FROM days day LEFT JOIN days past ON past.as_of_date < day.as_of_date
                AND past.accounts >= {minimum_accounts} AND past.dispersion > 0
            WHERE day.is_today GROUP BY ALL
        )
        SELECT as_of_date, accounts, dispersion, days, usual, dispersion / usual,
            CASE WHEN dispersion > 0 AND deviation > 0
                THEN (ln(dispersion) - centre) / deviation END
        FROM compared ORDER BY as_of_date""").fetchall()
    spreads = []
    for day, accounts, dispersion, days, usual, ratio, z in rows:
        reason = None
        if accounts < minimum_accounts:
            reason = f"{accounts} accounts have a figure on {day}, {minimum_accounts} are needed"
        elif days < minimum_days:
            reason = f"{days} days before {day} can be compared, {minimum_days} are needed"
        if reason is None:
            spreads.append(Spread(day, accounts, dispersion, days, usual, ratio, z))
        else:
            spreads.append(Spread(day, accounts, dispersion, days, reason=reason))
    return spreads


@dataclass(frozen=True)
class Completeness:
    """Account-days that came among those expected (SA-84).

    `value` is a fraction, None if nothing was expected. `offenders` names up to twenty missing
    account-days as "account day", the latest first.
    """

    delivered: int
    expected: int
    offenders: tuple[str, ...] = ()
    by_vendor: Mapping[str, "Completeness"] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """Delivered among expected, a fraction."""
        return self.delivered / self.expected if self.expected else None


def open_accounts(
    con: DuckDBPyConnection, valuations: DuckDBPyRelation, states: DuckDBPyRelation
) -> DuckDBPyRelation:
    """List the accounts that a month's valuations are expected of, for `completeness`.

    `states` are the rows of ACCOUNT_STATES of the month before. An account is open from the
    month's first day if its record was open then, else from its first value; it closes with a
    value of 0 that is its last. Columns: account_id, vendor, first_date, last_date (null = open).
    """
    return con.sql(f"""
        WITH present AS (
            SELECT account_id, any_value(vendor) AS vendor, min(as_of_date) AS first_value,
                max(as_of_date) AS last_value, max_by(market_value, as_of_date) AS last_amount
            FROM {as_view(valuations)} WHERE is_current GROUP BY account_id
        ),
        carried AS (
            SELECT account_id, vendor, as_of_date + 1 AS first_date
            FROM {as_view(states)} WHERE is_record_open
        )
        SELECT account_id, coalesce(carried.vendor, present.vendor) AS vendor,
            coalesce(first_date, first_value)::DATE AS first_date,
            CASE WHEN last_amount = 0 THEN last_value END AS last_date
        FROM present FULL JOIN carried USING (account_id)""")


def completeness(
    con: DuckDBPyConnection, valuations: DuckDBPyRelation, expected: DuckDBPyRelation
) -> Completeness:
    """Compare the account-days that came with those expected (SA-84).

    Expected are all open accounts (`expected`: columns of `open_accounts`) on every business day
    (Monday to Friday) on which the vendor delivered a value of at least one account. `valuations`
    has the columns of VALUATIONS; current versions count.
    """
    wanted = f"""
        WITH came AS (
            SELECT DISTINCT vendor, account_id, as_of_date FROM {as_view(valuations)}
            WHERE is_current
        ),
        days AS (
            SELECT DISTINCT vendor, as_of_date FROM came WHERE isodow(as_of_date) <= 5
        ),
        wanted AS (
            SELECT accounts.vendor, accounts.account_id, days.as_of_date,
                came.account_id IS NOT NULL AS is_there
            FROM {as_view(expected)} accounts
            JOIN days ON days.vendor = accounts.vendor
                AND days.as_of_date >= first_date
                AND days.as_of_date <= coalesce(last_date, days.as_of_date)
            LEFT JOIN came ON came.account_id = accounts.account_id
                AND came.as_of_date = days.as_of_date
        )"""
    counts = con.execute(f"""{wanted}
        SELECT vendor, count(*) FILTER (is_there), count(*) FROM wanted GROUP BY vendor
        ORDER BY vendor""").fetchall()
    missing = con.execute(f"""{wanted}
        SELECT vendor, account_id || ' ' || as_of_date FROM wanted WHERE NOT is_there
        ORDER BY as_of_date DESC, account_id LIMIT {MAX_OFFENDERS}""").fetchall()
    by_vendor = {
        vendor: Completeness(there, all_, tuple(name for of, name in missing if of == vendor))
        for vendor, there, all_ in counts
    }
    return Completeness(
        sum(one.delivered for one in by_vendor.values()),
        sum(one.expected for one in by_vendor.values()),
        tuple(name for _, name in missing),
        by_vendor,
    )
