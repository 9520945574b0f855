"""Trying the hypotheses on breaches, and choosing the one that explains a breach best (B-3)."""

from duckdb import DuckDBPyConnection

from pipeline_platform.advisory_performance.day_facts import Facts
from pipeline_platform.advisory_performance.hypotheses import HYPOTHESES
from pipeline_platform.advisory_performance.relations import literal

ROUNDING_NOISE = 1e-9
"""A return this far from another is the same one: what doubles and 12 decimals can't hold."""

CARRIED = "With the vendor's own figures on days that are breaks themselves"
"""How the explanation of a longer period begins whose breaks are those of its days."""


def try_days(con: DuckDBPyConnection, facts: Facts, trials: str) -> None:
    """Compute every day hypothesis on every day that some breach asks for, as a new table.

    `ratio` is by how much it changes the day's growth; `pair_ratio` by how much it changes that
    of the other day that it touches (a flow leaves one day and arrives on another).
    """
    tables = {"day": f"{facts.days} WHERE is_needed", "flow": f"{facts.flows} WHERE true"}
    queries = [
        f"""SELECT account, day, basis, {number} AS hypothesis, ({one.value_sql()}) AS value,
            ours, ({one.amount})::DOUBLE AS amount, ({one.contradicted_by})::DATE AS other_day
        FROM {tables[one.source]} AND ({one.where})"""
        for number, one in enumerate(HYPOTHESES)
        if one.source != "figure"
    ]
    con.execute(f"""
        CREATE TEMP TABLE {trials} AS
        WITH tried AS (
            SELECT account, day, basis, hypothesis::SMALLINT AS hypothesis, value, amount,
                other_day, (1 + value) / (1 + ours) AS ratio
            FROM ({" UNION ALL ".join(queries)})
            WHERE isfinite(value) AND value > -1 AND ours > -1
                AND abs(value - ours) > {ROUNDING_NOISE}
        ),
        pairs AS (
            SELECT DISTINCT account, basis, day AS other_day, other_day AS day,
                ratio AS pair_ratio, abs(amount) AS pair_amount, pair.other AS hypothesis
            FROM tried JOIN (VALUES {_pairs()}) pair(one, other) ON pair.one = tried.hypothesis
        )
        SELECT tried.*, pair_ratio FROM tried LEFT JOIN pairs
            ON pairs.account = tried.account AND pairs.basis = tried.basis
            AND pairs.hypothesis = tried.hypothesis AND pairs.day = tried.day
            AND pairs.other_day = tried.other_day AND pairs.pair_amount = abs(tried.amount)""")


def _pairs() -> str:
    """Return pairs of hypotheses about a flow that leaves one day and arrives on another."""
    moving = [(n, one) for n, one in enumerate(HYPOTHESES) if one.contradicted_by != "NULL"]
    return ", ".join(
        f"({number}, {other_number})"
        for number, one in moving
        for other_number, other in moving
        if one.source == other.source and (one.source == "day" or one is not other)
    )


def daily_candidates(breaches: str, trials: str) -> str:
    """Return SQL for every hypothetical return of the daily breaches.

    Columns: breach, hypothesis, value, amount, day and other_day (null for figures), pair_ratio,
    is_replacement (of days within a longer period), carried_days.
    """
    return f"""{_figures(breaches, "period = 'daily'")}
        UNION ALL
        SELECT breach, hypothesis, trials.value, amount, day, other_day, pair_ratio,
            false, 0
        FROM {breaches} breaches JOIN {trials} trials
            ON trials.account = breaches.account AND trials.basis = breaches.basis
            AND trials.day = breaches.as_of_date
        WHERE period = 'daily'"""


def longer_candidates(breaches: str, trials: str, winners: str) -> str:
    """Return SQL for every hypothetical return of the longer periods, same columns.

    Three kinds: one day replaced, with its pair where that lies in the period too; flow
    hypotheses on all days; the vendor's own figures on all days that are explained breaks.
    """
    systematic = ", ".join(str(n) for n, one in enumerate(HYPOTHESES) if one.is_systematic)
    replaced = f"""FROM {breaches} breaches JOIN {trials} trials
            ON trials.account = breaches.account AND trials.basis = breaches.basis
            AND trials.day BETWEEN period_start AND as_of_date
        WHERE period <> 'daily'"""
    return f"""{_figures(breaches, "period <> 'daily'")}
        UNION ALL
        SELECT breach, hypothesis, (1 + ours) * pow(ratio * CASE
                WHEN other_day BETWEEN period_start AND as_of_date THEN coalesce(pair_ratio, 1)
                ELSE 1 END, 1.0 / years) - 1, amount, day, day, NULL,
            true, 0
        {replaced}
        UNION ALL
        SELECT breach, hypothesis, (1 + ours) * pow(product(ratio), 1.0 / years) - 1, sum(amount),
            NULL, NULL, NULL, true, 0
        {replaced} AND hypothesis IN ({systematic})
        GROUP BY breach, hypothesis, ours, years HAVING count(*) > 1
        UNION ALL
        SELECT breach, max_by(hypothesis, abs(ln(ratio))),
            (1 + breaches.ours) * pow(product(ratio), 1.0 / years) - 1, NULL, NULL, NULL, NULL,
            false, count(*)
        FROM {breaches} breaches JOIN (
            SELECT account, basis, as_of_date AS day, hypothesis,
                (1 + theirs) / (1 + ours) AS ratio
            FROM {winners} WHERE period = 'daily' AND theirs > -1 AND ours > -1
        ) breaks ON breaks.account = breaches.account AND breaks.basis = breaches.basis
            AND breaks.day BETWEEN period_start AND as_of_date
        WHERE period <> 'daily'
        GROUP BY breach, breaches.ours, years"""


def _figures(breaches: str, where: str) -> str:
    return " UNION ALL ".join(
        f"""SELECT breach, {number}::SMALLINT AS hypothesis, {one.value_sql()} AS value,
            NULL::DOUBLE AS amount, NULL::DATE AS day, NULL::DATE AS other_day,
            NULL::DOUBLE AS pair_ratio, false AS is_replacement, 0 AS carried_days
        FROM {breaches} WHERE {where} AND {one.where}"""
        for number, one in enumerate(HYPOTHESES)
        if one.source == "figure"
    )


def choose_sql(breaches: str, facts: Facts, candidates: str) -> str:
    """Return SQL for the best explanation of each breach; one that none explains has no row.

    The rules are those of `causes.py`.
    """
    properties = ", ".join(
        f"({n}, '{one.cause}', {one.rank}, {one.must_be_exact}, {literal(one.wording)}, "
        f"{one.cause in ('return_unit', 'return_sign')})"
        for n, one in enumerate(HYPOTHESES)
    )
    return f"""
        WITH tried AS (
            SELECT candidates.*, breaches.* EXCLUDE (breach), value - theirs AS residual,
                abs(value - theirs) <= least(tolerance, half_unit + {ROUNDING_NOISE}) AS is_exact
            FROM ({candidates}) candidates JOIN {breaches} breaches USING (breach)
            WHERE abs(value - theirs) <= tolerance
        ),
        judged AS (
            SELECT tried.* RENAME (day AS explained_day),
                hypotheses.* EXCLUDE (hypothesis),
                coalesce(abs(days.theirs - days.ours) <= tolerance, false)
                    OR coalesce(abs(days.theirs + 1 - (1 + days.ours) * pair_ratio) > tolerance,
                        false) AS is_contradicted,
                coalesce(abs(days.theirs - days.ours) > tolerance, false) AS is_supported
            FROM tried
            JOIN (VALUES {properties})
                hypotheses(hypothesis, cause, rank, must_be_exact, wording, is_scaled)
                USING (hypothesis)
            LEFT JOIN {facts.days} days ON days.account = tried.account
                AND days.basis = tried.basis AND days.day = tried.other_day
            WHERE is_exact OR NOT must_be_exact
        )
        SELECT account_id, account, as_of_date, period, basis, ours, theirs, hypothesis, cause,
            residual,
            CASE WHEN carried_days > 0
                THEN printf({literal(CARRIED + " (%d, the largest by %s)")}, carried_days, cause)
                ELSE replace(wording, '{{amount}}', coalesce(printf('%,.2f', amount), '0')) END
            || CASE WHEN period = 'daily' OR carried_days > 0 THEN ''
                WHEN explained_day IS NOT NULL THEN ' on ' || explained_day::VARCHAR
                WHEN amount IS NOT NULL THEN ' on every day' ELSE '' END
            || printf(', our return is %.6f %%, %+.2f bps from the vendor''s %.6f %% '
                || '(without: %+.2f bps).',
                value * 100, residual * 10000, theirs * 100, (ours - theirs) * 10000) AS detail
        FROM judged
        WHERE (is_exact OR abs(residual) <= 0.25 * abs(ours - theirs))
            AND (is_exact OR NOT is_replacement OR is_supported)
            -- A figure near nought agrees with any small multiple of itself: ask for its shape.
            AND (NOT is_scaled
                OR (theirs <> 0 AND abs(residual) <= 0.05 * abs(value) + half_unit))
        QUALIFY row_number() OVER (PARTITION BY breach
            ORDER BY is_exact DESC, is_contradicted, rank, carried_days > 0, abs(residual),
                explained_day, hypothesis) = 1"""
