"""Reports of the command line over the control tables, as rows by column name."""

from typing import Any

from psycopg.rows import dict_row

from pipeline_platform.warehouse.control import Connection

Row = dict[str, Any]

# A file's months that still wait for the second hop are not lost: they are on their way.
_LEDGER = """
    WITH hops AS (
        SELECT file_sha256, hop, partition_key, arrived, published, quarantined, deduplicated,
            held_late,
            CASE WHEN hop = 'bronze_to_silver' THEN coalesce((
                SELECT before.published FROM conservation_ledger AS before
                WHERE before.pipeline = ledger.pipeline AND before.hop = 'landing_to_bronze'
                  AND before.file_sha256 = ledger.file_sha256
                  AND before.partition_key = ledger.partition_key
            ), 0) - arrived END AS lost
        FROM conservation_ledger AS ledger
        WHERE pipeline = %(pipeline)s
        UNION ALL
        SELECT file_sha256, 'bronze_to_silver', partition_key, 0, 0, 0, 0, 0, published
        FROM conservation_ledger AS ledger
        WHERE pipeline = %(pipeline)s AND hop = 'landing_to_bronze' AND published > 0
          AND NOT EXISTS (
              SELECT FROM conservation_ledger AS after
              WHERE after.pipeline = ledger.pipeline AND after.hop = 'bronze_to_silver'
                AND after.file_sha256 = ledger.file_sha256
                AND after.partition_key = ledger.partition_key
          )
    ), settled AS (
        SELECT hops.*, waiting.partition_key IS NOT NULL AS is_waiting
        FROM hops
        LEFT JOIN partition_work AS waiting
            ON waiting.pipeline = %(pipeline)s AND waiting.partition_key = hops.partition_key
    )
    SELECT log.file_name AS file, left(settled.file_sha256, 12) AS sha256, settled.hop,
        sum(arrived)::bigint AS arrived, sum(published)::bigint AS published,
        sum(quarantined)::bigint AS quarantined, sum(deduplicated)::bigint AS deduplicated,
        sum(held_late)::bigint AS "held late",
        sum(abs(CASE WHEN is_waiting AND hop = 'bronze_to_silver' THEN 0
            ELSE arrived - published - quarantined - deduplicated - held_late END))::bigint
            AS imbalance,
        coalesce(sum(abs(CASE WHEN is_waiting THEN 0 ELSE lost END)), 0)::bigint AS "lost before",
        count(*) FILTER (WHERE is_waiting AND hop = 'bronze_to_silver') AS "months that wait"
    FROM settled
    LEFT JOIN etl_processing_log AS log
        ON log.pipeline = %(pipeline)s AND log.file_sha256 = settled.file_sha256
    WHERE starts_with(settled.file_sha256, %(file)s)
    GROUP BY log.file_name, settled.file_sha256, settled.hop, log.arrived_at
    ORDER BY log.arrived_at DESC NULLS LAST, log.file_name, settled.file_sha256, settled.hop DESC
"""


def conservation(conn: Connection, pipeline: str, *, file_sha256: str | None = None) -> list[Row]:
    """Return each file's records by hop, the newest file first (B-8).

    `imbalance` is the sum over months of what nothing accounts for, `lost before` what the hop
    before published and this one did not receive; months that wait to be processed are left out
    of both. `file_sha256` may be a hash's beginning.
    """
    values = {"pipeline": pipeline, "file": file_sha256 or ""}
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LEDGER, values).fetchall()
