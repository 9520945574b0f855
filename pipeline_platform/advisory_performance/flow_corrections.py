"""Flows of an account and day are one set: restated, emptied or repeated as a whole (SA-20).

Works on the temporary tables that `corrections.py` describes.
"""

import duckdb

FLOW_CONTENT = (
    "flow_id",
    "amount",
    "timing",
    "weight",
    "valuation_before_flow",
    "settlement_date",
    "currency",
)


def version_flows(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    """Order the sets of flows of every account-day into versions.

    Makes `<prefix>_published_flows` (arrival, flow_sequence, known_to) and
    `<prefix>_emptied_flows` (arrival of the record that said "no flow" and so closed a set).
    """
    content = ", ".join(FLOW_CONTENT)
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_file_flows AS
        SELECT
            *, row_number() OVER (
                PARTITION BY account_id, as_of_date, file_rank ORDER BY arrival
            ) AS flow_sequence
        FROM (
            SELECT account_id, as_of_date, file_rank, {content}, min(arrival) AS arrival
            FROM {prefix}_good WHERE has_flow GROUP BY ALL
        )
    """)
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_stated_sets AS
        WITH filled AS (
            SELECT account_id, as_of_date, file_rank, min(arrival) AS arrival, false AS is_empty
            FROM {prefix}_file_flows GROUP BY ALL
        )
        FROM filled
        UNION ALL
        SELECT account_id, as_of_date, file_rank, min(arrival), true
        FROM {prefix}_good
        SEMI JOIN filled USING (account_id, as_of_date)
        ANTI JOIN filled AS same_file USING (account_id, as_of_date, file_rank)
        WHERE states_no_flow
        GROUP BY ALL
    """)
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_flow_sets AS
        WITH restated AS (
            SELECT account_id, as_of_date FROM {prefix}_stated_sets GROUP BY ALL HAVING count(*) > 1
        ),
        flows AS (
            SELECT
                account_id, as_of_date, file_rank,
                min(arrival) OVER (PARTITION BY account_id, as_of_date, {content}) AS content_id
            FROM {prefix}_file_flows SEMI JOIN restated USING (account_id, as_of_date)
        ),
        contents AS (
            SELECT account_id, as_of_date, file_rank, list_sort(list(content_id)) AS flows
            FROM flows GROUP BY ALL
        ),
        marked AS (
            SELECT
                stated.*, coalesce(flows, []) IS DISTINCT FROM coalesce(
                    lag(flows) OVER (PARTITION BY account_id, as_of_date ORDER BY file_rank), []
                ) AS is_new
            FROM {prefix}_stated_sets AS stated
            SEMI JOIN restated USING (account_id, as_of_date)
            LEFT JOIN contents USING (account_id, as_of_date, file_rank)
        )
        SELECT
            account_id, as_of_date, file_rank, arrival, is_empty,
            lead(received_at) OVER (
                PARTITION BY account_id, as_of_date ORDER BY file_rank
            ) AS known_to
        FROM marked JOIN {prefix}_files USING (file_rank) WHERE is_new
        UNION ALL
        SELECT account_id, as_of_date, file_rank, arrival, is_empty, NULL
        FROM {prefix}_stated_sets ANTI JOIN restated USING (account_id, as_of_date)
    """)
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_published_flows AS
        SELECT flow.arrival, flow.flow_sequence, flow_set.known_to
        FROM {prefix}_file_flows AS flow
        JOIN {prefix}_flow_sets AS flow_set USING (account_id, as_of_date, file_rank)
    """)
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_emptied_flows AS
        SELECT arrival FROM {prefix}_flow_sets WHERE is_empty
    """)
