"""Refinement taken back in the control tables: its refusals, its account, and whose turn it is."""

from collections.abc import Sequence
from datetime import datetime

from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.control import Connection


def take_refinement_back(
    conn: Connection,
    pipeline: str,
    partitions: Sequence[str],
    run_id: str,
    *,
    since: datetime,
    now: datetime,
) -> None:
    """Make partitions wait again as before a run refined them; `since` is its first commit.

    What the run refused is no longer held, what it let pass is held again, the ledger has the
    account again that the run's took the place of, and files that it completed are PUBLISHED and
    wait for the new request. Nobody else may have worked on these partitions since.
    """
    values = {
        "pipeline": pipeline,
        "keys": list(partitions),
        "run_id": run_id,
        "since": since,
        "now": now,
    }
    later_hops = (
        "pipeline = %(pipeline)s AND partition_key = ANY(%(keys)s) AND hop <> 'landing_to_bronze'"
    )
    conn.execute(
        f"""
        WITH released AS (
            DELETE FROM quarantined_rows WHERE {later_hops} AND run_id = %(run_id)s
            RETURNING file_sha256, line_number
        )
        UPDATE data_quality_issues AS issue SET resolved_at = %(now)s
        FROM released
        WHERE issue.pipeline = %(pipeline)s AND issue.issue_type = 'record'
          AND issue.file_sha256 = released.file_sha256
          AND issue.line_number = released.line_number AND issue.resolved_at IS NULL
        """.encode(),
        values,
    )
    conn.execute(
        f"""
        UPDATE quarantined_rows SET state = 'HELD', resolved_at = NULL, resolution = NULL
        WHERE {later_hops} AND state = 'REPLAYED' AND resolved_at >= %(since)s
        """.encode(),
        values,
    )
    conn.execute(
        f"DELETE FROM conservation_ledger WHERE {later_hops} AND run_id = %(run_id)s".encode(),
        values,
    )
    conn.execute(
        f"""
        WITH earlier AS (
            DELETE FROM replaced_ledger WHERE {later_hops} AND replaced_by = %(run_id)s
            RETURNING *
        )
        INSERT INTO conservation_ledger (
            pipeline, hop, file_sha256, partition_key, arrived, published, quarantined,
            deduplicated, held_late, run_id, recorded_at
        )
        SELECT pipeline, hop, file_sha256, partition_key, arrived, published, quarantined,
            deduplicated, held_late, run_id, recorded_at
        FROM earlier ON CONFLICT DO NOTHING
        """.encode(),
        values,
    )
    versions = control.request_partitions(conn, pipeline, partitions, now)
    conn.execute(
        """
        UPDATE etl_processing_log AS log SET
            status = 'PUBLISHED', completed_at = NULL,
            partition_versions = ARRAY(
                SELECT coalesce(requested.version, had.version)
                FROM unnest(log.partition_keys, log.partition_versions)
                    WITH ORDINALITY AS had (key, version, place)
                LEFT JOIN unnest(%(keys)s::text[], %(versions)s::bigint[])
                    AS requested (key, version) ON requested.key = had.key
                ORDER BY had.place
            )
        WHERE pipeline = %(pipeline)s AND partition_keys && %(keys)s::text[]
          AND (status = 'PUBLISHED' OR (status = 'COMPLETED' AND completed_at >= %(since)s))
        """,
        {**values, "keys": list(versions), "versions": list(versions.values())},
    )
