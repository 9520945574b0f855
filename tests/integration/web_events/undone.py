"""Two deliveries of events, each taken in and refined by runs of its own, and their undoing."""

from collections.abc import Collection, Mapping

from pipeline_platform.ingestion.undoing import BackTo
from pipeline_platform.operations.undo import Undoing
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import stops
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, TABLES, WEB_EVENTS
from tests.integration.web_events.event_files import (
    deliver,
    events,
    ingest,
    refine_requested,
)

STATE = {
    "register": "SELECT file_name, status, partition_keys FROM etl_processing_log",
    "held records": "SELECT file_name, hop, line_number, rule, state FROM quarantined_rows",
    "held files": "SELECT file_name, rule, state FROM quarantined_files",
}
LEDGER = (
    "SELECT hop, file_sha256, partition_key, arrived, published, quarantined, deduplicated"
    " FROM conservation_ledger"
)


def run(services: Services, run_id: str) -> RunContext:
    """Return a run whose clock goes on, as that of every real run does."""
    return RunContext(services, run_id)


def take_in(services: Services, number: int, content: bytes) -> None:
    deliver(services, f"events_{number}.ndjson", content)
    ingest(run(services, f"ingest-{number}"))


def first_delivery(services: Services) -> None:
    take_in(services, 1, events(20))
    refine_requested(run(services, "refine-1"))


def second_delivery(services: Services) -> None:
    """Deliver events of which some came before, and lines that can't be read."""
    take_in(services, 2, events(8) + events(6, prefix="new-") + b"no json\n")


def stop(services: Services) -> None:
    with services.database.transaction() as connection:
        stops.stop(connection, PIPELINE, by="test", reason="undo", now=utc_now())


def resume(services: Services) -> None:
    with services.database.transaction() as connection:
        stops.resume(connection, PIPELINE, by="test", reason=None, now=utc_now())


def made_from(key: tuple[str, ...], keys: Collection[str]) -> Mapping[tuple[str, ...], set[str]]:
    """Say what Dagster's graph says: silver's days are made from bronze's."""
    return {WEB_EVENTS.asset_key: set(keys)} if key == RAW_EVENTS.asset_key else {}


def undoing(services: Services) -> Undoing:
    return Undoing(services, PIPELINE, TABLES, made_from, "undo", utc_now())


def undo(services: Services, run_id: str, back_to: BackTo = "source") -> None:
    undoing(services).apply(run_id, back_to, by="test", reason="wrong clock")


def state(services: Services) -> dict[str, object]:
    """Return all content: rows, register, quarantine and where each file lies."""
    zone = services.landing(PIPELINE)
    with services.connect() as engine, services.database.connection() as connection:
        lake = {
            table.name: sorted(
                services.lake.relation(engine, table).project("event_id, file_sha256").fetchall()
            )
            for table in (RAW_EVENTS, WEB_EVENTS)
        }
        control = {
            name: sorted(map(str, connection.execute(query.encode()).fetchall()))
            for name, query in STATE.items()
        }
    places = {
        folder: sorted(one.key.rpartition("/")[2] for one in zone.list(folder))
        for folder in ("incoming", "processing", "archive", "quarantine")
    }
    return {**lake, **control, **places}


def accounts(services: Services) -> list[tuple[object, ...]]:
    """Return what the conservation ledger says."""
    with services.database.connection() as connection:
        return sorted(connection.execute(LEDGER).fetchall())
