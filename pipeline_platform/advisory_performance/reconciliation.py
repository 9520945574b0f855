"""Our returns beside the vendors': who agrees, who doesn't, and who is missing (SA-8, SA-14).

What is expected. A vendor's *daily* figure of a basis is expected on every day for which we have
one, for each account for which the vendor reported at least one daily figure of that basis in
that month. A figure of a *longer* period is expected on the days on which the vendor reported
that period and basis for any account (its reporting calendar), for each account for which it
reported that period and basis on any given day.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.relations import as_view, literal, typed_columns
from pipeline_platform.advisory_performance.tables import BASES, PERIODS, RECONCILIATION
from pipeline_platform.failures import InvalidRunbookError

PENDING = "PENDING"
COMPLETED = "COMPLETED"
BREACH = "BREACH"
MISSING_VENDOR = "MISSING_VENDOR"
MISSING_OURS = "MISSING_OURS"
STATUSES = (PENDING, COMPLETED, BREACH, MISSING_VENDOR, MISSING_OURS)

UNKNOWN_CLASS = "unknown"
"""Account class of a figure whose account has no row of ours at all."""

Figure = tuple[str | None, str | None, str | None]


@dataclass(frozen=True)
class Tolerances:
    """How far our return may be from the vendor's, in basis points, the limit included (SA-63).

    `daily_bps` is the default of daily returns, `longer_bps` that of all other periods.
    `overrides` holds values by (vendor, account class, period), each of which may be None for
    "any". The most specific one wins: one that names the vendor before one that doesn't, then
    account class, then period.
    """

    daily_bps: Decimal | float = 1
    longer_bps: Decimal | float = 5
    overrides: Mapping[Figure, Decimal | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an unknown period and a value that is negative or not a number."""
        periods = {key[2] for key in self.overrides} - {None, *PERIODS}
        if periods:
            raise InvalidRunbookError(
                f"A tolerance names the unknown period {sorted(map(str, periods))[0]!r}; "
                f"use one of {', '.join(PERIODS)}."
            )
        for value in (self.daily_bps, self.longer_bps, *self.overrides.values()):
            if not (Decimal(str(value)).is_finite() and value >= 0):
                raise InvalidRunbookError(
                    f"A tolerance is {value} basis points; use a number of 0 or more."
                )

    def by_specificity(self) -> list[tuple[Figure, Decimal]]:
        """Return the overrides in exact decimals, the most specific first."""
        return sorted(
            ((key, Decimal(str(value))) for key, value in self.overrides.items()),
            key=lambda item: tuple(part is not None for part in item[0]),
            reverse=True,
        )

    def of(self, vendor: str, account_class: str, period: str) -> Decimal:
        """Return the tolerance in basis points of one vendor, account class and period."""
        figure = (vendor, account_class, period)
        for key, value in self.by_specificity():
            if all(named in (None, part) for named, part in zip(key, figure, strict=True)):
                return value
        return Decimal(str(self.daily_bps if period == "daily" else self.longer_bps))


def _tolerance_sql(tolerances: Tolerances) -> str:
    """Return `Tolerances.of` as an SQL expression over vendor, account_class and period."""
    columns = ("vendor", "account_class", "period")
    branches = ""
    for key, value in tolerances.by_specificity():
        named = [
            f"{column} = {literal(part)}"
            for column, part in zip(columns, key, strict=True)
            if part is not None
        ]
        branches += f"WHEN {' AND '.join(named) or 'true'} THEN {value:f} "
    daily, longer = (Decimal(str(value)) for value in (tolerances.daily_bps, tolerances.longer_bps))
    return f"CASE {branches} WHEN period = 'daily' THEN {daily:f} ELSE {longer:f} END"


def figure_sql(bases: Mapping[str, str] | None = None) -> str:
    """Return SQL for our return of the row's `period` and `basis`, read from the wide table `ours`.

    `bases` says which of our bases answers for which: `{"net": "gross", "gross": "net"}` asks
    for the other one.
    """
    wanted = bases or {basis: basis for basis in BASES}
    branches = " ".join(
        f"WHEN period = '{period}' AND basis = '{basis}' THEN ours.{wanted[basis]}_return_{period}"
        for basis in BASES
        for period in PERIODS
    )
    return f"CASE {branches} END"


PERIOD_START_SQL = """CASE period
    WHEN 'mtd' THEN date_trunc('month', as_of_date)::DATE
    WHEN 'qtd' THEN date_trunc('quarter', as_of_date)::DATE
    WHEN 'ytd' THEN date_trunc('year', as_of_date)::DATE
    WHEN 'since_inception' THEN DATE '0001-01-01'
    WHEN 'one_year' THEN (as_of_date - INTERVAL 1 YEAR)::DATE + 1
    WHEN 'three_years' THEN (as_of_date - INTERVAL 3 YEAR)::DATE + 1
    WHEN 'five_years' THEN (as_of_date - INTERVAL 5 YEAR)::DATE + 1
    ELSE as_of_date END"""
"""First day whose return belongs to the period that ends on `as_of_date`."""


def reconcile(
    con: DuckDBPyConnection,
    returns: DuckDBPyRelation,
    reported: DuckDBPyRelation,
    tolerances: Tolerances,
    *,
    calendar: DuckDBPyRelation | None = None,
) -> DuckDBPyRelation:
    """Compare our returns with the vendors'; give the columns of RECONCILIATION, causes null.

    `returns` has the columns of TIME_WEIGHTED_RETURNS and `reported` those of REPORTED_RETURNS;
    only their current versions count. Where they hold only some accounts, `calendar` is that of all
    (see `reporting_calendar`). One row per account, day, period and basis that the vendor
    reported or was expected to report (see the module). Statuses:

    - COMPLETED, BREACH: both exist; |difference_bps| is within the tolerance (included), or not.
      The difference is exact in decimals and judged as it is stored, at 0.000001 basis points.
    - MISSING_VENDOR: ours exists, the vendor's was expected.
    - MISSING_OURS: the vendor's exists, ours should be measurable but is not there.
    - PENDING: the vendor's exists, ours is rightly undefined: the day is not `measured`
      (inception, no assets, non-positive base), the record is shorter than the period, or the
      gross figure needs fees that nobody delivered.

    The relation is lazy: it reads its inputs when it is read.
    """
    ours, figures = as_view(returns), as_view(reported)
    days = as_view(reporting_calendar(reported) if calendar is None else calendar)
    query = f"""
    WITH ours AS NOT MATERIALIZED (SELECT * FROM {ours} WHERE is_current),
    figures AS NOT MATERIALIZED (
        SELECT account_id, as_of_date, date_trunc('month', as_of_date)::DATE AS as_of_month,
            vendor, period, basis, reported_return, file_sha256, line_number
        FROM {figures} WHERE is_current
    ),
    expected AS (
        SELECT ours.account_id, ours.as_of_date, habit.period, habit.basis
        FROM ours JOIN (
            SELECT DISTINCT account_id, as_of_month, period, basis FROM figures
            WHERE period = 'daily'
        ) habit USING (account_id, as_of_month)
        WHERE ours.return_status = 'measured'
        UNION ALL
        SELECT ours.account_id, ours.as_of_date, calendar.period, calendar.basis
        FROM ours JOIN {days} calendar USING (vendor, as_of_date)
        JOIN (SELECT DISTINCT account_id, period, basis FROM figures) habit
            ON habit.account_id = ours.account_id AND habit.period = calendar.period
            AND habit.basis = calendar.basis
        WHERE ours.return_status = 'measured'
    ),
    pairs AS (
        SELECT * FROM figures
        FULL JOIN expected USING (account_id, as_of_date, period, basis)
    ),
    classes AS (
        SELECT account_id, max_by(account_class, as_of_date) AS account_class
        FROM ours GROUP BY account_id
    ),
    compared AS (
        SELECT account_id, as_of_date, date_trunc('month', as_of_date)::DATE AS as_of_month,
            coalesce(pairs.vendor, ours.vendor) AS vendor,
            coalesce(ours.account_class, classes.account_class, '{UNKNOWN_CLASS}') AS account_class,
            period, basis, reported_return AS vendor_return,
            {figure_sql()} AS our_return,
            {figure_sql({"net": "gross", "gross": "net"})} IS NOT NULL AS has_other_basis,
            ours.return_status, ours.record_start_date,
            pairs.file_sha256 AS vendor_file_sha256, pairs.line_number AS vendor_line_number
        FROM pairs
        LEFT JOIN ours USING (account_id, as_of_date)
        LEFT JOIN classes USING (account_id)
    ),
    measured AS (
        SELECT *, ((our_return::DECIMAL(38, 12) - vendor_return) * 10000)::DECIMAL(18, 6)
                AS difference_bps,
            ({_tolerance_sql(tolerances)})::DECIMAL(18, 6) AS tolerance_bps,
            {PERIOD_START_SQL} AS period_start
        FROM compared
        WHERE our_return IS NOT NULL OR vendor_return IS NOT NULL
    ),
    judged AS (
        SELECT *, CASE
            WHEN vendor_return IS NULL THEN '{MISSING_VENDOR}'
            WHEN abs(difference_bps) <= tolerance_bps THEN '{COMPLETED}'
            WHEN difference_bps IS NOT NULL THEN '{BREACH}'
            WHEN return_status IS NULL THEN '{MISSING_OURS}'
            WHEN return_status <> 'measured' THEN '{PENDING}'
            WHEN basis = 'gross' AND has_other_basis THEN '{PENDING}'
            WHEN period NOT IN ('daily', 'since_inception')
                AND record_start_date >= period_start THEN '{PENDING}'
            ELSE '{MISSING_OURS}' END AS reconciliation_status
        FROM measured
    )
    SELECT {typed_columns(RECONCILIATION.schema, _CAUSE_COLUMNS)} FROM judged"""
    return con.sql(query)


def reporting_calendar(reported: DuckDBPyRelation) -> DuckDBPyRelation:
    """Return the days on which a vendor reported a longer period for any account."""
    longer = reported.filter("is_current AND period <> 'daily'")
    return longer.project("vendor, as_of_date, period, basis").distinct()


_CAUSE_COLUMNS = frozenset({"probable_cause", "cause_detail", "cause_residual_bps"})


def reconciliation_report(
    con: DuckDBPyConnection, reconciliation: DuckDBPyRelation
) -> DuckDBPyRelation:
    """List each compared figure for people to read (SA-72), ordered by account, day and period.

    Returns are in percent; differences, tolerances and residuals in basis points; `cause` is the
    cause class and `explanation` its sentence.
    """
    return con.sql(f"""
        SELECT vendor, account_id, account_class, as_of_date, period, basis,
            (our_return * 100)::DECIMAL(18, 10) AS our_return_pct,
            (vendor_return * 100)::DECIMAL(18, 10) AS vendor_return_pct,
            difference_bps, tolerance_bps, reconciliation_status AS status,
            probable_cause AS cause, cause_detail AS explanation, cause_residual_bps
        FROM {as_view(reconciliation)}
        ORDER BY vendor, account_id, as_of_date, period, basis""")
