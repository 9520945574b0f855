"""Which request for a partition each layer has answered.

A partition is requested with a version (`partition_work`). Every layer reads its input's version
before it reads the input, and records that version once it has published. So a request that
comes in between stays open, whichever layers run, in whatever order, and however they end.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pipeline_platform.warehouse.control import Connection


def requested_versions(
    conn: Connection, pipeline: str, partition_keys: Sequence[str]
) -> dict[str, int]:
    """Return the open or last loaded request of each partition; one without one is left out."""
    rows = conn.execute(
        """
        SELECT partition_key, max(version) FROM (
            SELECT partition_key, version FROM partition_work
            WHERE pipeline = %(pipeline)s AND partition_key = ANY(%(keys)s)
            UNION ALL
            SELECT partition_key, version FROM partition_loads
            WHERE pipeline = %(pipeline)s AND partition_key = ANY(%(keys)s)
        ) AS requests GROUP BY partition_key
        """,
        {"pipeline": pipeline, "keys": list(partition_keys)},
    ).fetchall()
    return dict(rows)


def layer_versions(
    conn: Connection, pipeline: str, layer: str, partition_keys: Sequence[str]
) -> dict[str, int]:
    """Return up to which version `layer` has published each partition."""
    rows = conn.execute(
        """
        SELECT partition_key, version FROM partition_progress
        WHERE pipeline = %s AND layer = %s AND partition_key = ANY(%s)
        """,
        (pipeline, layer, list(partition_keys)),
    ).fetchall()
    return dict(rows)


def record_versions(
    conn: Connection, pipeline: str, layer: str, versions: Mapping[str, int], now: datetime
) -> None:
    """Record what `layer` has published; a version never goes back."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO partition_progress (pipeline, layer, partition_key, version, recorded_at)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (pipeline, layer, partition_key) DO UPDATE SET
                version = greatest(partition_progress.version, excluded.version),
                recorded_at = excluded.recorded_at
            """,
            [(pipeline, layer, key, version, now) for key, version in versions.items()],
        )
