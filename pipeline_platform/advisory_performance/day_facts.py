"""What a day's return is made of, in the form in which hypotheses can be tried on it (B-3).

Two temporary tables are made: one row per account, day and basis, and one per flow of such a row.
Only accounts with breaches are read.
"""

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from pipeline_platform.advisory_performance.relations import unique_name

WEIGHT_SQL = "CASE timing WHEN 'start_of_day' THEN 1 WHEN 'end_of_day' THEN 0 ELSE weight END"
"""Fraction of the day that a flow was in the account; NULL means mid-day, 0.5."""


@dataclass(frozen=True)
class Inputs:
    """Names of the views that facts are drawn from; all versions may be in them."""

    breaches: str
    returns: str
    reported: str
    valuations: str
    flows: str


@dataclass(frozen=True)
class Facts:
    """Names of the temporary tables."""

    theirs: str
    days: str
    flows: str

    def drop(self, con: DuckDBPyConnection) -> None:
        """Give the memory back."""
        for table in (self.theirs, self.days, self.flows):
            con.execute(f"DROP TABLE IF EXISTS {table}")


def gather_facts(con: DuckDBPyConnection, inputs: Inputs) -> Facts:
    """Make the tables of facts for the accounts of the breaches.

    A flow belongs to the first day with a value of ours on or after its date, and settles on the
    first such day on or after its settlement date. `is_needed` marks the days that some breach
    asks for; the others only serve as the day before or after.
    """
    facts = Facts(unique_name("theirs"), unique_name("day_facts"), unique_name("flow_facts"))
    valued, booked = unique_name("valued_days"), unique_name("booked_flows")
    accounts = f"(SELECT DISTINCT account_id, account FROM {inputs.breaches}) accounts"
    con.execute(f"""
        CREATE TEMP TABLE {facts.theirs} AS
        SELECT account, as_of_date AS day, basis, reported_return::DOUBLE AS theirs,
            decimals AS theirs_decimals
        FROM {inputs.reported} JOIN {accounts} USING (account_id)
        WHERE is_current AND period = 'daily'""")
    con.execute(f"""
        CREATE TEMP TABLE {valued} AS
        SELECT account, as_of_date AS day, opening_value::DOUBLE AS opening,
            market_value::DOUBLE AS value, coalesce(fees, 0)::DOUBLE AS fees,
            net_return_daily::DOUBLE AS net, gross_return_daily::DOUBLE AS gross
        FROM {inputs.returns} JOIN {accounts} USING (account_id)
        WHERE is_current""")
    _book_flows(con, inputs.flows, accounts, valued, booked)
    _gather_days(con, inputs, facts, accounts, valued, booked)
    con.execute(f"""
        CREATE TEMP TABLE {facts.flows} AS
        SELECT days.*, booked.amount, booked.weight, booked.same_count,
            days.day = booked.booked_day AS is_booked, days.day = booked.settled_day AS is_settled,
            CASE days.day WHEN booked_day THEN settled_day ELSE booked_day END AS other_flow_day,
            settled_day IS DISTINCT FROM booked_day AS is_moved_flow
        FROM {facts.days} days JOIN {booked} booked ON booked.account = days.account
            AND (booked.booked_day = days.day OR booked.settled_day = days.day)
        WHERE days.is_needed""")
    for table in (valued, booked):
        con.execute(f"DROP TABLE {table}")
    return facts


def _book_flows(
    con: DuckDBPyConnection, flows: str, accounts: str, valued: str, booked: str
) -> None:
    con.execute(f"""
        CREATE TEMP TABLE {booked} AS
        WITH flows AS (
            SELECT account, as_of_date, coalesce(settlement_date, as_of_date) AS settled_date,
                amount::DOUBLE AS amount, coalesce(({WEIGHT_SQL})::DOUBLE, 0.5) AS weight, timing
            FROM {flows} JOIN {accounts} USING (account_id)
            WHERE is_current AND amount <> 0
        ),
        booked AS (
            SELECT flows.*, valued.day AS booked_day
            FROM flows ASOF JOIN {valued} valued
                ON flows.account = valued.account AND flows.as_of_date <= valued.day
        )
        SELECT booked.account, booked.booked_day, valued.day AS settled_day, booked.amount,
            booked.weight, booked.as_of_date < booked.booked_day AS is_in_gap,
            count(*) OVER (PARTITION BY booked.account, booked.booked_day,
                booked.amount, booked.weight, booked.timing) AS same_count
        FROM booked ASOF LEFT JOIN {valued} valued
            ON booked.account = valued.account AND booked.settled_date <= valued.day""")


def _gather_days(
    con: DuckDBPyConnection, inputs: Inputs, facts: Facts, accounts: str, valued: str, booked: str
) -> None:
    con.execute(f"""
        CREATE TEMP TABLE {facts.days} AS
        WITH totals AS (
            SELECT account, booked_day AS day, sum(amount) AS flow,
                sum(amount * weight) AS weighted_flow, count(*) AS flow_count,
                coalesce(sum(amount) FILTER (is_in_gap), 0) AS flow_in_gap,
                coalesce(sum(amount * weight) FILTER (is_in_gap), 0) AS weighted_flow_in_gap
            FROM {booked} GROUP BY ALL
        ),
        moves AS (
            SELECT account, day, sum(moved_out) AS moved_out, sum(moved_in) AS moved_in,
                sum(moved_out * weight) AS weighted_moved_out,
                sum(moved_in * weight) AS weighted_moved_in, min(other_day) AS other_moved_day
            FROM (
                SELECT account, booked_day AS day, amount AS moved_out, 0 AS moved_in, weight,
                    settled_day AS other_day
                FROM {booked} WHERE settled_day IS DISTINCT FROM booked_day
                UNION ALL
                SELECT account, settled_day, 0, amount, weight, booked_day
                FROM {booked} WHERE settled_day <> booked_day
            ) GROUP BY ALL
        ),
        rates AS (
            SELECT account, as_of_date AS day, fx_rate::DOUBLE AS fx_rate
            FROM {inputs.valuations} JOIN {accounts} USING (account_id)
            WHERE is_current AND fx_rate IS NOT NULL
        ),
        daily_breaks AS (
            SELECT DISTINCT account, as_of_date AS day, basis, true AS is_break
            FROM {inputs.breaches} WHERE period = 'daily'
        ),
        spans AS (
            SELECT account, min(period_start) AS first_day, max(as_of_date) AS last_day
            FROM {inputs.breaches} WHERE period <> 'daily' GROUP BY account
        ),
        joined AS (
            SELECT valued.account, valued.day, basis.name AS basis, opening,
                CASE basis.name WHEN 'gross' THEN value + fees ELSE value END AS closing,
                CASE basis.name WHEN 'gross' THEN gross ELSE net END AS ours, fx_rate,
                coalesce(flow, 0) AS flow, coalesce(weighted_flow, 0) AS weighted_flow,
                coalesce(flow_count, 0) AS flow_count, coalesce(flow_in_gap, 0) AS flow_in_gap,
                coalesce(weighted_flow_in_gap, 0) AS weighted_flow_in_gap,
                coalesce(moved_out, 0) AS moved_out, coalesce(moved_in, 0) AS moved_in,
                coalesce(weighted_moved_out, 0) AS weighted_moved_out,
                coalesce(weighted_moved_in, 0) AS weighted_moved_in,
                moved_out IS NOT NULL AS is_moved, other_moved_day,
                abs(value - opening) < 0.005 OR abs(value - opening - coalesce(flow, 0)) < 0.005
                    AS closing_is_repeated
            FROM {valued} valued
            CROSS JOIN (VALUES ('net'), ('gross')) basis(name)
            LEFT JOIN totals USING (account, day)
            LEFT JOIN moves USING (account, day)
            LEFT JOIN rates USING (account, day)
        ),
        followed AS (
            SELECT joined.*, theirs, theirs_decimals,
                lag(joined.day) OVER history AS day_before,
                lag(ours) OVER history AS ours_before,
                lag(opening) OVER history AS opening_before,
                lag(flow) OVER history AS flow_before,
                lag(weighted_flow) OVER history AS weighted_flow_before,
                lag(closing_is_repeated) OVER history AS opening_is_repeated,
                lag(theirs) OVER history AS theirs_before,
                lag(theirs_decimals) OVER history AS theirs_before_decimals,
                lag(fx_rate) OVER history AS fx_rate_before,
                lag(fx_rate, 2) OVER history AS fx_rate_before_that,
                lead(closing) OVER history AS closing_after,
                lead(flow) OVER history AS flow_after,
                lead(weighted_flow) OVER history AS weighted_flow_after,
                lead(theirs) OVER history AS theirs_after
            FROM joined LEFT JOIN {facts.theirs} theirs USING (account, day, basis)
            WINDOW history AS (PARTITION BY account, basis ORDER BY day)
        ),
        gaps AS (
            SELECT followed.account, followed.day, followed.basis,
                product(1 + lone.theirs) AS growth_in_gap
            FROM (
                SELECT * FROM {facts.theirs} ANTI JOIN {valued} USING (account, day)
            ) lone
            JOIN followed ON followed.account = lone.account AND followed.basis = lone.basis
                AND lone.day > followed.day_before AND lone.day < followed.day
            GROUP BY ALL
        )
        SELECT followed.*, growth_in_gap, ours IS NOT NULL
            AND (is_break IS NOT NULL OR coalesce(day BETWEEN first_day AND last_day, false))
            AS is_needed
        FROM followed
        LEFT JOIN gaps USING (account, day, basis)
        LEFT JOIN daily_breaks USING (account, day, basis)
        LEFT JOIN spans USING (account)""")
