"""`idempotent_requests`: a request that comes again with its key gets the run it got before."""

from typing import Any

import psycopg

from pipeline_platform.failures import BadInputError

Connection = psycopg.Connection[Any]


def run_id_of_request(
    conn: Connection, *, actor: str, key: str, request_sha256: str, run_id: str
) -> str:
    """Return the run id that this key stands for: `run_id` the first time, and that ever after.

    The row stays locked until the caller's transaction ends. Raises BadInputError if the key was
    sent with another request before.
    """
    conn.execute(
        "INSERT INTO idempotent_requests (actor, idempotency_key, request_sha256, run_id)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (actor, key, request_sha256, run_id),
    )
    row = conn.execute(
        "SELECT request_sha256, run_id FROM idempotent_requests"
        " WHERE actor = %s AND idempotency_key = %s FOR UPDATE",
        (actor, key),
    ).fetchone()
    assert row is not None  # noqa: S101 -- inserted above, or there before
    if row[0] != request_sha256:
        raise BadInputError(
            "This Idempotency-Key was sent with another request before; take a new key."
        )
    return str(row[1])
