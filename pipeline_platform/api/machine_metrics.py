"""Metrics of what the platform runs on: its database, its lake and folders, its machine."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric

from pipeline_platform.api.platform import Platform
from pipeline_platform.lake.engine import local_temp
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.landing.zone import Folder
from pipeline_platform.warehouse import figures

SHOWN_FOLDERS: tuple[Folder, ...] = ("incoming", "processing", "quarantine")


def gauge(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    """Return an empty family of gauges."""
    return GaugeMetricFamily(name, text, labels=list(labels))


def database_state(platform: Platform) -> Iterator[Metric]:
    """Yield size, connections and answer time of the database (SA-16, SA-23, SA-87)."""
    began = datetime.now(UTC)
    with platform.services.database.connection() as connection:
        state = figures.database_state(connection)
    took = gauge("database_query_seconds", "How long this reading took (SA-87).")
    took.add_metric([], (datetime.now(UTC) - began).total_seconds())
    size = gauge("database_size_bytes", "Size of the platform's database.")
    size.add_metric([], state["size_bytes"])
    connections = gauge(
        "database_connections", "Clients of the whole server (SA-16, SA-23).", ["state"]
    )
    for name in ("open", "active", "idle_in_transaction"):
        connections.add_metric([name], state[f"{name}_count"])
    most = gauge("database_max_connections", "How many clients the server takes.")
    most.add_metric([], state["max_connections"])
    yield from (took, size, connections, most)


def sizes(platform: Platform) -> Iterator[Metric]:
    """Yield rows, bytes and files of lake tables, objects and bytes of landing folders."""
    services = platform.services
    columns = {
        "rows": gauge("lake_table_rows", "Rows of a lake table.", ["table"]),
        "bytes": gauge("lake_table_bytes", "Bytes of its live files (SW-24).", ["table"]),
        "files": gauge("lake_table_files", "Its live files.", ["table"]),
    }
    for table, found in services.lake.table_sizes().items():
        for name, family in columns.items():
            family.add_metric([table], getattr(found, name))
    objects = gauge("landing_objects", "Objects in a folder.", ["pipeline", "folder"])
    size = gauge("landing_bytes", "Bytes in a folder (SA-40).", ["pipeline", "folder"])
    for pipeline in platform.runbooks:
        zone = services.landing(pipeline)
        for folder in SHOWN_FOLDERS:
            state = zone.observe(folder)
            objects.add_metric([pipeline, folder], state.object_count)
            size.add_metric([pipeline, folder], state.total_bytes)
    yield from (*columns.values(), objects, size)


def kept_files(platform: Platform) -> Iterator[Metric]:
    """Yield objects and bytes of archives and temporary locations, which may be many (SA-40)."""
    settings = platform.services.settings
    stored = gauge("archive_objects", "Objects in an archive.", ["pipeline"])
    stored_size = gauge("archive_bytes", "Bytes in an archive (SA-40).", ["pipeline"])
    for pipeline in platform.runbooks:
        state = platform.services.landing(pipeline).observe("archive")
        stored.add_metric([pipeline], state.object_count)
        stored_size.add_metric([pipeline], state.total_bytes)
    objects = gauge("temp_objects", "Objects in a temporary location.", ["location"])
    size = gauge("temp_bytes", "Bytes in a temporary location (SA-40).", ["location"])
    for location in sorted({settings.temp_location, str(local_temp(settings))}):
        found = [one.size_bytes for one in ObjectStore.at(location, settings).list()]
        objects.add_metric([location], len(found))
        size.add_metric([location], sum(found))
    yield from (stored, stored_size, objects, size)


def capacity_limits(platform: Platform) -> Iterator[Metric]:
    """Yield how far each series of a runbook may grow (SW-66)."""
    limits = gauge("capacity_limit", "How far a series may grow (SW-66).", ["pipeline", "series"])
    for pipeline, runbook in platform.runbooks.items():
        for series, capacity in runbook.capacity.items():
            limits.add_metric([pipeline, series], capacity.limit)
    yield limits


def host_state(platform: Platform) -> Iterator[Metric]:
    """Yield memory, disk and load of the machine (SP-29, SP-65 to SP-67)."""
    memory = psutil.virtual_memory()
    home = platform.services.settings.home
    disk = psutil.disk_usage(str(home if home.exists() else home.anchor))
    families = {
        "host_memory_used_pct": ("Memory in use (SP-29, SP-66).", memory.percent),
        "host_disk_used_pct": ("Disk of the home folder in use (SP-67).", disk.percent),
        "host_load_per_processor": (
            "Load of the last minute by processor (SP-29, SP-65).",
            os.getloadavg()[0] / (os.cpu_count() or 1),
        ),
    }
    for name, (text, value) in families.items():
        family = gauge(name, text)
        family.add_metric([], value)
        yield family
