"""Whether every record of a vendor's file is in bronze, or held."""

import hashlib

from tests.drills.drilling import Drilled


def lines_in(content: bytes) -> int:
    """Count the records of a delimited file."""
    return len(content.splitlines()) - 1


def rows_of(drilled: Drilled, content: bytes) -> tuple[int, int]:
    """Return how many of a file's records were published and how many are held."""
    with drilled.services.database.connection() as connection:
        (row,) = connection.execute(
            "SELECT records_processed, records_quarantined FROM etl_processing_log"
            " WHERE file_sha256 = %s",
            (hashlib.sha256(content).hexdigest(),),
        ).fetchall()
    return row
