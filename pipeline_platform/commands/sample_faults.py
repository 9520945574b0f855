"""Was every fault of a sample caught, and was nothing else? Its ledger against the platform."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline_platform.advisory_performance import tables as advisory
from pipeline_platform.advisory_performance.run_context import shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import SampleArrivals
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.web_events import tables as web_events
from pipeline_platform.web_events.samples.events import SampleEvents

Fault = tuple[object, ...]


def vendor_differences(services: Services, made: SampleArrivals) -> list[str]:
    """Say where the vendor files' ledger and what was caught differ; nothing if they agree.

    Damaged files and rows must be in quarantine by their rule, wrong figures must be breaches
    explained by their cause. What other files brought is left out.
    """
    files = (*made.files, *made.corrections)
    with services.database.connection() as connection:
        hashes = _hashes(one.content for one in files)
        held_files = _held(connection, advisory.PIPELINE, "quarantined_files", hashes)
        held_rows = _held(connection, advisory.PIPELINE, "quarantined_rows", hashes)
    expected = {
        level: Counter((one.file_name, one.expected) for one in made.faults if one.level == level)
        for level in ("file", "row")
    }
    figures = Counter(
        (one.vendor, _canonical(one.vendor, one.account_id), one.as_of_date, "daily", one.expected)
        for one in made.faults
        if one.level == "figure"
    )
    with services.connect() as engine:
        breaches = (
            services.lake.relation(engine, advisory.RECONCILIATION)
            .filter("reconciliation_status = 'BREACH'")
            .project("vendor, account_id, as_of_date, period, probable_cause, vendor_file_sha256")
            .fetchall()
        )
    found = Counter(tuple(row[:-1]) for row in breaches if row[-1] in hashes)
    return [
        *_differences("file in quarantine", expected["file"], held_files),
        *_differences("row in quarantine", expected["row"], held_rows),
        *_differences("breach", figures, found),
    ]


def event_differences(services: Services, made: SampleEvents) -> list[str]:
    """Say where the events' ledger and what was caught differ; nothing if they agree.

    Broken lines must be in quarantine by their rule, copies must be deduplicated, and silver must
    hold every event once.
    """
    hashes = _hashes(content for _, content in made.files)
    with services.database.connection() as connection:
        held = connection.execute(
            "SELECT file_name, line_number, rule FROM quarantined_rows"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s)",
            (web_events.PIPELINE, sorted(hashes)),
        ).fetchall()
        copies = connection.execute(
            "SELECT coalesce(sum(deduplicated), 0)::bigint FROM conservation_ledger"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s)",
            (web_events.PIPELINE, sorted(hashes)),
        ).fetchall()
    broken = Counter(
        (one.file_name, one.line_number, one.kind)
        for one in made.faults
        if one.expected == "quarantined"
    )
    expected_copies = sum(one.expected == "deduplicated" for one in made.faults)
    with services.connect() as engine:
        sources = services.lake.relation(engine, web_events.WEB_EVENTS).project("file_sha256")
        events = sum(sha256 in hashes for (sha256,) in sources.fetchall())
    return [
        *_differences("line in quarantine", broken, Counter(held)),
        *_differences("number of copies", Counter([(expected_copies,)]), Counter(copies)),
        *_differences("number of events", Counter([(made.event_count,)]), Counter([(events,)])),
    ]


def _held(connection: Connection, pipeline: str, table: str, hashes: set[str]) -> Counter[Fault]:
    query = f"SELECT file_name, rule FROM {table} WHERE pipeline = %s AND file_sha256 = ANY(%s)"
    return Counter(connection.execute(query.encode(), (pipeline, sorted(hashes))).fetchall())


def _differences(what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> list[str]:
    missing, extra = Counter(expected), Counter(found)
    missing.subtract(found)
    extra.subtract(expected)
    return [
        f"{what}, {word}: {', '.join(map(str, fault))}"
        for word, faults in (("not found", missing), ("not expected", extra))
        for fault in sorted((+faults).elements(), key=str)
    ]


def _hashes(contents: Iterable[bytes]) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in contents}


def _canonical(vendor: str, account_id: str) -> str:
    return shipped_mappings()[vendor].account.apply(account_id)
