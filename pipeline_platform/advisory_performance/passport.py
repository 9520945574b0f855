"""The passport of a served figure: from it back to the line it came from (B-8)."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from pipeline_platform.advisory_performance.audit import SILVER_TABLES
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    TIME_WEIGHTED_RETURNS,
    VENDOR_ROWS,
)
from pipeline_platform.failures import BadInputError
from pipeline_platform.quality.passport import Passport, PassportSection, ShownPassport, trace
from pipeline_platform.services import Services
from pipeline_platform.warehouse.figure_reads import record_read

SERVED = "performance_data"
PLACE = {"file_sha256", "line_number", "known_from", "known_to", "is_current"}
KNOWN = {"account_id", "as_of_date", "as_of_month", "vendor"}


def passport(opened: Services, account: str, day: date | None) -> ShownPassport:
    """Trace one account and day: served row, versions, file, line, hash and runs.

    That somebody was shown it is recorded. Raises NotFoundError if nothing is known of the day,
    BadInputError without one.
    """
    if day is None:
        raise BadInputError("Figures of accounts are served by day; name it after the account.")
    found = _trace(opened, account, day)
    gold = _publication(opened, found.served)
    record_read(opened.database, "passport", account=account, first=day, last=day)
    title = f"{found.account_id}, {found.as_of_date}"
    sections: list[PassportSection] = [(title, [])]
    if found.served is not None:
        sections = [
            (f"{title}: served row", found.served),
            ("Gold that it was loaded from", gold),
        ]
    sections += [
        ("Versions in silver, newest first", _versions(found)),
        ("Delivered lines", _lines(found)),
    ]
    if found.quarantined:
        sections.append(("Held back on the way", found.quarantined))
    return ShownPassport(sections, _document(found, gold))


def _trace(opened: Services, account: str, day: date) -> Passport:
    span = (day.replace(day=1), day.replace(day=1))
    with opened.connect() as engine, opened.database.connection() as connection:
        return trace(
            connection,
            PIPELINE,
            account,
            day,
            silver={
                table.name: opened.lake.relation(engine, table, months=span)
                for table in SILVER_TABLES
            },
            bronze=opened.lake.relation(engine, VENDOR_ROWS, months=span),
            serving_table=SERVED,
        )


def _publication(opened: Services, served: Mapping[str, Any] | None) -> dict[str, object]:
    """Describe the snapshot of gold that a served row was loaded from: run, code, inputs."""
    if served is None or served["lake_snapshot_id"] is None:
        return {}
    wanted = served["lake_snapshot_id"]
    for one in opened.lake.snapshots(TIME_WEIGHTED_RETURNS):
        if one.snapshot_id == wanted:
            return {
                "snapshot": wanted,
                "committed_at": one.committed_at,
                **{
                    name: one.properties[name]
                    for name in ("run_id", "code_version", "inputs")
                    if name in one.properties
                },
            }
    return {"snapshot": wanted, "note": "no longer remembered by the table"}


def _versions(found: Passport) -> list[dict[str, object]]:
    return [
        {
            "table": one.table,
            "known from": one.known_from,
            "known to": one.known_to,
            "file": one.file_sha256[:12],
            "line": one.line_number,
            "values": _written(one.values, PLACE | KNOWN),
        }
        for one in found.versions
    ]


def _lines(found: Passport) -> list[dict[str, object]]:
    source = found.source
    return [
        {
            "": "source" if one == source else "",
            "file": one.file_name,
            "sha256": one.file_sha256,
            "line": one.line_number,
            "arrived": one.arrived_at,
            "status": one.status,
            "run": one.run_id,
            "record": _written(one.record or {}, PLACE | {"file_name", "received_at"}),
        }
        for one in found.lines
    ]


def _document(found: Passport, gold: dict[str, object]) -> dict[str, object]:
    return {
        "account_id": found.account_id,
        "as_of_date": found.as_of_date,
        "served": _plain(found.served),
        "gold": gold,
        "versions": [
            {"table": one.table, **{name: _text(value) for name, value in one.values.items()}}
            for one in found.versions
        ],
        "lines": [
            {
                "file_name": one.file_name,
                "file_sha256": one.file_sha256,
                "line_number": one.line_number,
                "vendor": one.vendor,
                "arrived_at": one.arrived_at,
                "location": one.location,
                "status": one.status,
                "run_id": one.run_id,
                "is_source": one == found.source,
                "record": _plain(one.record),
            }
            for one in found.lines
        ],
        "quarantined": [_plain(one) for one in found.quarantined],
    }


def _plain(row: Mapping[str, Any] | None) -> dict[str, object] | None:
    return None if row is None else {name: _text(value) for name, value in row.items()}


def _text(value: object) -> object:
    return value if isinstance(value, str | int | bool | None) else str(value)


def _written(values: Mapping[str, Any], without: set[str]) -> str:
    """Write a row's values in one line, empty ones left out."""
    return ", ".join(
        f"{name}={value}"
        for name, value in values.items()
        if name not in without and value is not None
    )
