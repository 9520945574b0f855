"""What later deliveries changed, and what was known at an instant (B-4).

Tables with `known_from`, `known_to` and `is_current` are bitemporal: `as_of_date` says which day a
row is about, `known_from` and `known_to` from when until when it was what we knew. A version that
was superseded stays, so that a report can be repeated as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.relations import as_view, literal, typed_columns
from pipeline_platform.advisory_performance.tables import RESTATEMENTS, RETURN_COLUMNS
from pipeline_platform.failures import BadInputError, InvalidRunbookError

VALUE = "market_value"


@dataclass(frozen=True)
class Materiality:
    """From which change on a restatement is material, the limit included (error-correction policy).

    `return_bps` is for returns of the `short_periods`, `longer_return_bps` for all others, in basis
    points; `account_value_pct` for values, in percent of the value before. A value that was 0
    before is material however little it is now. Of a material one that was served, `notify` are
    told; from `reissue_times_limit` times its limit on, reports are issued again.
    """

    return_bps: Decimal | float = 10
    longer_return_bps: Decimal | float = 25
    account_value_pct: Decimal | float = Decimal("0.5")
    short_periods: Sequence[str] = ("daily", "mtd")
    notify: Sequence[str] = ()
    reissue_times_limit: Decimal | float = 1

    def __post_init__(self) -> None:
        """Refuse a limit that is negative or not a number."""
        for limit in (self.return_bps, self.longer_return_bps, self.account_value_pct):
            if not (Decimal(str(limit)).is_finite() and limit >= 0):
                raise InvalidRunbookError(
                    f"A limit of materiality is {limit}; use a number of 0 or more."
                )

    def limit_bps(self, measure: str) -> Decimal:
        """Return the limit in basis points for a measure: a value, or a return of some period."""
        if measure == VALUE:
            return Decimal(str(self.account_value_pct)) * 100
        is_short = measure.partition("_return_")[2] in self.short_periods
        return Decimal(str(self.return_bps if is_short else self.longer_return_bps))

    def rule(self, measure: str) -> str:
        """Say the rule that decides about a measure, for the reader of a restatement."""
        if measure == VALUE:
            return f"value changed by {self.account_value_pct} % or more"
        is_short = measure.partition("_return_")[2] in self.short_periods
        kind = "return of a short period" if is_short else "return of a longer period"
        return f"{kind} changed by {self.limit_bps(measure)} bps or more"


def restatements(
    con: DuckDBPyConnection,
    *,
    valuations: DuckDBPyRelation,
    returns: DuckDBPyRelation,
    materiality: Materiality,
) -> DuckDBPyRelation:
    """List every value and return that a later version changed; give the columns of RESTATEMENTS.

    `valuations` and `returns` hold all versions of VALUATIONS and TIME_WEIGHTED_RETURNS. One row
    per account, day, measure and pair of consecutive versions whose figures differ; `measure` is
    the column's name. A figure that appeared or disappeared has nothing to be compared with and is
    no row. `difference_bps` is the difference of returns, or the value's change relative to the
    value before (null where that was 0). `file_sha256` is the file whose value of the same
    account-day replaced another between the two versions, null if a correction of another day
    caused the change.
    """
    values, linked = as_view(valuations), as_view(returns)
    rules = ", ".join(
        f"({literal(measure)}, {materiality.limit_bps(measure):f}::DECIMAL(18, 6), "
        f"{literal(materiality.rule(measure))})"
        for measure in (VALUE, *RETURN_COLUMNS)
    )
    figures = ", ".join(f"{name}::DECIMAL(38, 12) AS {name}" for name in RETURN_COLUMNS)
    version = (
        "row_number() OVER (PARTITION BY account_id, as_of_date "
        "ORDER BY known_from, known_to NULLS LAST) AS version"
    )
    # Only account-days with a superseded version can hold a restatement.
    touched = "SEMI JOIN (SELECT * FROM {} WHERE NOT is_current) old USING (account_id, as_of_date)"
    return con.sql(f"""
    WITH figures AS (
        SELECT account_id, as_of_date, vendor, known_from, {version}, file_sha256,
            '{VALUE}' AS measure, market_value::DECIMAL(38, 12) AS figure
        FROM {values} {touched.format(values)}
        UNION ALL BY NAME
        SELECT * FROM (
            UNPIVOT (
                SELECT account_id, as_of_date, vendor, known_from, {version}, {figures}
                FROM {linked} {touched.format(linked)}
            ) ON {", ".join(RETURN_COLUMNS)} INTO NAME measure VALUE figure
        )
    ),
    changed AS (
        SELECT later.account_id, later.as_of_date, later.vendor, measure,
            earlier.figure AS previous_value, later.figure AS restated_value,
            earlier.known_from AS previously_known_from, later.known_from AS restated_at,
            later.file_sha256,
            CASE WHEN measure <> '{VALUE}' THEN (later.figure - earlier.figure) * 10000
                WHEN earlier.figure <> 0 THEN (later.figure - earlier.figure)::DOUBLE
                    / abs(earlier.figure)::DOUBLE * 10000 END AS change_bps
        FROM figures earlier JOIN figures later USING (account_id, as_of_date, measure)
        WHERE later.version = earlier.version + 1 AND later.figure <> earlier.figure
    ),
    judged AS (
        SELECT changed.* EXCLUDE (file_sha256),
            date_trunc('month', changed.as_of_date)::DATE AS as_of_month,
            try_cast(change_bps AS DECIMAL(18, 6)) AS difference_bps,
            coalesce(abs(difference_bps) >= limit_bps, true) AS is_material,
            rule AS materiality_rule,
            coalesce(changed.file_sha256, CASE
                WHEN cause.known_from > changed.previously_known_from THEN cause.file_sha256 END
            ) AS file_sha256
        FROM changed
        JOIN (VALUES {rules}) rules(measure, limit_bps, rule) USING (measure)
        ASOF LEFT JOIN (
            SELECT account_id, as_of_date, known_from, file_sha256 FROM {values}
        ) cause
            ON cause.account_id = changed.account_id AND cause.as_of_date = changed.as_of_date
            AND cause.known_from <= changed.restated_at
    )
    SELECT {typed_columns(RESTATEMENTS.schema)} FROM judged
    ORDER BY account_id, as_of_date, measure, restated_at""")


def as_known_at(relation: DuckDBPyRelation, instant: datetime) -> DuckDBPyRelation:
    """Keep the versions that were known at an instant: what a report of that time was made from.

    Works for every table with `known_from` and `known_to`. A version is known from `known_from`
    (included) until `known_to` (excluded). Raises BadInputError for an instant without time zone.
    """
    if instant.tzinfo is None:
        raise BadInputError(
            f"The instant {instant.isoformat()} has no time zone; add one, for example +00:00."
        )
    moment = f"TIMESTAMPTZ {literal(instant.isoformat())}"
    return relation.filter(f"known_from <= {moment} AND (known_to IS NULL OR known_to > {moment})")
