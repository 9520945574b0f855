"""Why a vendor's return differs from ours, found by trying it (B-3, SA-62 to SA-64, SA-72).

Each breach is recomputed under every hypothesis of `hypotheses.py`. A hypothesis *explains* the
breach if its return is within the tolerance of the vendor's, and either meets the vendor's last
reported decimal or closes at least three quarters of the gap. Among those that explain, the
winner is, in this order:

1. one that meets the last reported decimal;
2. one that no other figure of the vendor contradicts (a flow counted on its settlement date must
   show on both days; a day whose daily figure agrees can't be what is wrong with the month);
3. the simpler one: the order of `hypothesis.CAUSES`;
4. the one with the smallest residual.

For a longer period, the hypothetical return of one day is put in place of ours and linked anew:
`(1 + ours) * ((1 + hypothetical day) / (1 + our day)) ^ (1 / years) - 1`, for every day of the
period that is among the given rows; flow hypotheses are also tried on all days at once, and so
are the vendor's own figures of all days whose break is explained (the longer period then has the
cause of the largest). A replaced day is believed only if it meets the last decimal or its own
daily figure is a break too.
"""

from dataclasses import dataclass

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.day_facts import Inputs, gather_facts
from pipeline_platform.advisory_performance.hypotheses import HYPOTHESES
from pipeline_platform.advisory_performance.hypothesis import UNEXPLAINED
from pipeline_platform.advisory_performance.reconciliation import (
    BREACH,
    PERIOD_START_SQL,
    figure_sql,
)
from pipeline_platform.advisory_performance.relations import (
    as_view,
    literal,
    typed_columns,
    unique_name,
)
from pipeline_platform.advisory_performance.tables import RECONCILIATION
from pipeline_platform.advisory_performance.trials import (
    CARRIED,
    choose_sql,
    daily_candidates,
    longer_candidates,
    try_days,
)


@dataclass(frozen=True)
class CauseCluster:
    """The breaches of a vendor that one explanation makes vanish; `share` is of all of them."""

    vendor: str
    cause: str
    count: int
    share: float
    sentence: str


def explain_breaches(
    con: DuckDBPyConnection,
    reconciliation: DuckDBPyRelation,
    *,
    valuations: DuckDBPyRelation,
    flows: DuckDBPyRelation,
    returns: DuckDBPyRelation,
    reported: DuckDBPyRelation,
) -> DuckDBPyRelation:
    """Fill probable_cause, cause_detail and cause_residual_bps of every BREACH.

    The relations have the columns of RECONCILIATION, VALUATIONS, EXTERNAL_FLOWS,
    TIME_WEIGHTED_RETURNS and REPORTED_RETURNS; only current versions count. Hand over the month
    before as well: what happened on a month's first days began there. Longer periods are searched
    only on the days given. The residual is hypothetical minus vendor's, null if unexplained. Where
    `reported` doesn't say with how many decimals a figure came, six are assumed. Returns the
    columns of RECONCILIATION, kept in a temporary table of the connection.
    """
    rulings = unique_name("rulings")
    con.execute(f"CREATE TEMP TABLE {rulings} AS SELECT * FROM {as_view(reconciliation)}")
    inputs = Inputs(
        unique_name("breaches"),
        as_view(returns),
        as_view(reported),
        as_view(valuations),
        as_view(flows),
    )
    _gather_breaches(con, rulings, inputs)
    facts = gather_facts(con, inputs)
    trials, winners = unique_name("trials"), unique_name("winners")
    try_days(con, facts, trials)
    daily = choose_sql(inputs.breaches, facts, daily_candidates(inputs.breaches, trials))
    con.execute(f"CREATE TEMP TABLE {winners} AS {daily}")
    candidates = longer_candidates(inputs.breaches, trials, winners)
    con.execute(f"INSERT INTO {winners} {choose_sql(inputs.breaches, facts, candidates)}")
    for table in (inputs.breaches, trials):
        con.execute(f"DROP TABLE {table}")
    facts.drop(con)
    return con.sql(f"""
        SELECT {typed_columns(RECONCILIATION.schema)} FROM (
            SELECT rulings.* REPLACE (
                CASE WHEN is_breach THEN coalesce(cause, '{UNEXPLAINED}') END AS probable_cause,
                CASE WHEN is_breach THEN coalesce(detail, {_UNEXPLAINED_DETAIL}) END
                    AS cause_detail,
                residual * 10000 AS cause_residual_bps)
            FROM (SELECT *, reconciliation_status = '{BREACH}' AS is_breach FROM {rulings}) rulings
            LEFT JOIN {winners} USING (account_id, as_of_date, period, basis))""")


_UNEXPLAINED_DETAIL = (
    "printf('None of the known causes explains the gap of %+.2f bps.', difference_bps::DOUBLE)"
)


def _gather_breaches(con: DuckDBPyConnection, rulings: str, inputs: Inputs) -> None:
    con.execute(f"""
        CREATE TEMP TABLE {inputs.breaches} AS
        WITH ours AS (SELECT * FROM {inputs.returns} WHERE is_current),
        decimals AS (
            SELECT account_id, as_of_date, period, basis, max(decimals) AS decimals
            FROM {inputs.reported} WHERE is_current GROUP BY ALL
        )
        SELECT row_number() OVER () AS breach, rulings.account_id,
            dense_rank() OVER (ORDER BY rulings.account_id)::INTEGER AS account, rulings.as_of_date,
            rulings.period, rulings.basis, our_return::DOUBLE AS ours,
            vendor_return::DOUBLE AS theirs, tolerance_bps::DOUBLE / 10000 AS tolerance,
            {figure_sql({"net": "gross", "gross": "net"})}::DOUBLE AS other_basis,
            0.5 * pow(10, -coalesce(decimals.decimals, 6)) AS half_unit,
            -- 0.0120000000 is a figure of three decimals, however many zeros were written.
            CASE WHEN vendor_return = 0 THEN coalesce(decimals.decimals, 6)
                ELSE length(rtrim(split_part(vendor_return::VARCHAR, '.', 2), '0'))
                END::INTEGER AS used_decimals,
            CASE period WHEN 'three_years' THEN 3 WHEN 'five_years' THEN 5 ELSE 1 END AS years,
            {PERIOD_START_SQL} AS period_start
        FROM {rulings} rulings
        LEFT JOIN decimals USING (account_id, as_of_date, period, basis)
        LEFT JOIN ours USING (account_id, as_of_date)
        WHERE reconciliation_status = '{BREACH}'""")


def cluster(con: DuckDBPyConnection, breaches: DuckDBPyRelation) -> list[CauseCluster]:
    """Group the explained breaches by vendor and explanation, the largest group first.

    `breaches` has the columns of RECONCILIATION; rows of another status are left out. "14 of 17
    breaches of northgate vanish if its flows are at the end of the day."
    """
    conditions = {one.fixed_wording: one.condition for one in HYPOTHESES}
    conditions[CARRIED] = "its figures for single days are mended, which longer periods carry on"
    branches = " ".join(
        f"WHEN starts_with(cause_detail, {literal(beginning)}) THEN {literal(condition)}"
        for beginning, condition in conditions.items()
    )
    groups = con.execute(f"""
        SELECT *, sum(size) OVER (PARTITION BY vendor) FROM (
            SELECT vendor, probable_cause, CASE {branches} END AS condition, count(*) AS size
            FROM {as_view(breaches)}
            WHERE reconciliation_status = '{BREACH}' AND probable_cause IS NOT NULL
            GROUP BY ALL)
        ORDER BY vendor, size DESC, probable_cause, condition""").fetchall()
    return [
        CauseCluster(
            vendor,
            cause,
            count,
            count / int(total),
            f"{count} of {total} breaches of {vendor} "
            + (f"vanish if {condition}." if condition else "have no known cause."),
        )
        for vendor, cause, condition, count, total in groups
    ]
