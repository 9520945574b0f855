"""From a served total back to the lines of its meter and day."""

from datetime import date

from pipeline_platform.readings.tables import PIPELINE, RAW_READINGS

from pipeline_platform.quality.passport import ShownPassport, delivered_lines
from pipeline_platform.services import Services


def passport(services: Services, meter: str, day: date | None) -> ShownPassport:
    """Name the files and lines of a meter, of one day or all."""
    span = None if day is None else (day, day)
    with services.connect() as engine, services.database.connection() as connection:
        bronze = services.lake.relation(engine, RAW_READINGS, months=span)
        places = sorted(
            row[:2]
            for row in bronze.project("file_sha256, line_number, account_id").fetchall()
            if row[2] == meter
        )
        lines = delivered_lines(connection, PIPELINE, places, bronze)
    rows = [{"file": one.file_name, "line": one.line_number} for one in lines]
    return ShownPassport([("Delivered lines", rows)], {"lines": rows})
