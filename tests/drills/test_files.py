"""Drills of what arrives: a corrupt file, another schema, S3 that does not answer, a full disk."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_platform.advisory_performance import run_context as advisory
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.advisory_performance.vendors import VENDORS_FOLDER, load_mappings
from pipeline_platform.definitions import build_defs
from pipeline_platform.lake.export import table_names
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.tables import PIPELINE as WEB
from pipeline_platform.web_events.tables import RAW_EVENTS
from tests.assets.platform_runs import deliver, sample
from tests.drills.bronze import lines_in, rows_of
from tests.drills.conftest import DrillShell
from tests.drills.drilling import Drilled
from tests.drills.failing_s3 import FailingS3
from tests.drills.rows import HEALTH, LOOK, Fault
from tests.drills.small_disk import fill, small_disk
from tests.integration.landing.local_s3 import running_server, s3_client
from tests.integration.web_events.event_files import deliver as deliver_events
from tests.integration.web_events.event_files import events

ADVISORY = "advisory_performance"
INGEST = f"{ADVISORY}_ingest"
CORRUPT = Fault(
    name="vendor file corrupt",
    how="the vendor's CSV was cut and its bytes mixed up on the way; he delivers it again",
    alert="check `refused_files`",
    severity="warning",
    route="data_quality_issues",
    command="pipeline-platform quarantine discard SHA256 --reason TEXT",
    cadence=f"arrivals every 30 s, {HEALTH}, {LOOK}",
    compared="records of the file delivered again, against bronze",
)
SCHEMA = Fault(
    name="schema change",
    how="the vendor renames a column that is needed; its name is added to his mapping",
    alert="check `refused_files`",
    severity="warning",
    route="data_quality_issues",
    command="pipeline-platform quarantine replay",
    cadence=f"arrivals every 30 s, {HEALTH}, {LOOK}",
    compared="records of the file against bronze",
)
S3 = {
    status: Fault(
        name=f"S3 answers {status}",
        how=f"a proxy before moto's S3 answers each request with {status}",
        alert="failed run of the ingest",
        severity="critical",
        route="pipeline_failures",
        command="pipeline-platform landing ingest --pipeline advisory_performance",
        cadence=f"arrivals every 30 s, {LOOK}",
        compared="records of the waiting file against bronze",
    )
    for status in (503, 403)
}


DISK = Fault(
    name="disk full",
    how="a tmpfs of 64 MB for landing zone, archive, lake and temporary files, filled to its last "
    "byte by what killed runs left in `temp/` long ago",
    alert="failed run of the ingest; check `disk_used` (warning, capacity_thresholds)",
    severity="critical",
    route="pipeline_failures",
    command="pipeline-platform retention --apply",
    cadence=f"arrivals every 30 s, {HEALTH}, {LOOK}; after the command the sensor offers the file "
    "again within 15 min",
    compared="records of the waiting file against bronze",
)


def day_of_file(days_ago: int) -> tuple[str, bytes]:
    """Return name and content of a vendor's file that nobody delivered yet."""
    end = utc_now().date() - timedelta(days=days_ago)
    file = sample(accounts=3, days=2, end=end).files[1]
    return file.name, file.content


def test_a_vendors_file_is_corrupt(drill, drilled: Drilled) -> None:
    it = drill(CORRUPT)
    name, good = day_of_file(500)
    bad = b"\x00\xff" + good[: len(good) // 2]
    deliver(drilled.services.settings, name, bad, arrived_at=utc_now())
    it.strikes()
    drilled.run(INGEST, run_config=ingest_config(VENDOR_ROWS, ()))
    incident = it.is_seen(ADVISORY, by=ADVISORY)
    deliver(drilled.services.settings, name, good, arrived_at=utc_now())
    drilled.run(INGEST, run_config=ingest_config(VENDOR_ROWS, ()))
    sha256 = hashlib.sha256(bad).hexdigest()
    it.is_mended_by(f"pipeline-platform quarantine discard {sha256} --reason 'came again'")
    assert it.is_green(by=ADVISORY)
    assert incident.severity == it.fault.severity
    assert rows_of(drilled, good) == (lines_in(good), 0)


def test_a_vendor_changes_his_schema(drill, drilled: Drilled, tmp_path: Path, monkeypatch) -> None:
    it = drill(SCHEMA)
    name, content = day_of_file(600)
    changed = content.replace(b"market_value", b"mkt_val")
    deliver(drilled.services.settings, name, changed, arrived_at=utc_now())
    it.strikes()
    drilled.run(INGEST, run_config=ingest_config(VENDOR_ROWS, ()))
    incident = it.is_seen(ADVISORY, by=ADVISORY)
    with_other_mapping(
        tmp_path, monkeypatch, "  market_value: market_value", "  mkt_val: market_value"
    )
    it.is_mended_by()
    assert it.is_green(by=ADVISORY)
    assert incident.severity == it.fault.severity
    assert rows_of(drilled, changed) == (lines_in(changed), 0)


def with_other_mapping(folder: Path, monkeypatch, old: str, new: str) -> None:
    """Let the platform read a copy of the mappings in which something is mended."""
    shutil.copytree(VENDORS_FOLDER, folder / "vendors")
    path = folder / "vendors" / "standard.yaml"
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    monkeypatch.setattr(advisory, "load_mappings", lambda: load_mappings(folder / "vendors"))
    advisory.shipped_mappings.cache_clear()


@pytest.fixture(autouse=True)
def _shipped_mappings_afterwards() -> Iterator[None]:
    yield
    advisory.shipped_mappings.cache_clear()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingS3]:
    with running_server(tmp_path_factory.mktemp("moto")) as address, FailingS3(address) as proxy:
        yield proxy


@pytest.fixture
def elsewhere(drilled: Drilled) -> Iterator[Callable[..., Drilled]]:
    """Return the same platform with other places for its files; these are forgotten with them."""
    opened: list[Services] = []

    def make(**places: str) -> Drilled:
        shell = ElsewhereShell(drilled.shell.home)
        shell.channels, shell.places = drilled.channels, places
        services = Services(Settings.from_env(shell.environment))
        opened.append(services)
        definitions = build_defs(services.settings, {"services": services})
        return replace(drilled, shell=shell, services=services, definitions=definitions)

    yield make
    for one in opened:
        with drilled.services.database.transaction() as connection:
            connection.execute(
                "DELETE FROM etl_processing_log WHERE starts_with(location, %s)",
                (one.settings.archive_location,),
            )
        one.close()


class ElsewhereShell(DrillShell):
    places: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        given = {f"PLATFORM_{name.upper()}": place for name, place in self.places.items()}
        return {**super().environment, **given}


@pytest.mark.parametrize("status", S3)
def test_s3_does_not_do_its_work(status: int, drill, elsewhere, s3: FailingS3) -> None:
    it = drill(S3[status])
    bucket = f"drill-{status}"
    s3_client(s3.address).create_bucket(Bucket=bucket)
    it.platform = elsewhere(
        raw_location=f"s3://{bucket}/raw",
        archive_location=f"s3://{bucket}/archive",
        s3_endpoint=s3.address,
    )
    name, content = day_of_file(status)
    s3_client(s3.address).put_object(
        Bucket=bucket, Key=f"raw/{ADVISORY}/incoming/{name}", Body=content
    )
    s3.status = status
    it.strikes()
    it.platform.run(INGEST, run_config=ingest_config(VENDOR_ROWS, ()))
    incident = it.is_seen(ADVISORY)
    s3.status = None
    it.is_mended_by()
    assert it.is_green()
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert rows_of(it.platform, content) == (lines_in(content), 0)


@pytest.fixture
def disk(drilled: Drilled, tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB; the tables that were on it are forgotten with it."""
    with small_disk(tmp_path, 64) as mounted:
        yield mounted
        lake = drilled.services.lake
        for name in table_names(lake):
            if name[0].startswith(WEB):
                lake.catalog.drop_table(name)


def test_the_disk_is_full(drill, elsewhere, disk: Path) -> None:
    it = drill(DISK)
    it.platform = elsewhere(
        raw_location=str(disk / "landing"),
        archive_location=str(disk / "archive"),
        processed_location=str(disk / "lake"),
        temp_location=str(disk / "temp"),
    )
    content = events(200, utc_now() - timedelta(days=1))
    deliver_events(it.platform.services, "events_1.ndjson", content, arrived_at=utc_now())
    fill(disk)
    it.strikes()
    it.platform.run(f"{WEB}_ingest", run_config=ingest_config(RAW_EVENTS, ()))
    it.platform.check(ADVISORY)
    incident = it.is_seen(WEB)
    (filling,) = [one for one in it.platform.open_incidents() if one.pipeline == ADVISORY]
    it.is_mended_by()
    it.platform.run(f"{WEB}_ingest", run_config=ingest_config(RAW_EVENTS, ()))
    assert it.is_green(by=ADVISORY)
    assert incident.severity == it.fault.severity
    assert (filling.severity, filling.remedy.command) == ("warning", it.fault.command)
    assert filling.incident_id not in {one.incident_id for one in it.platform.open_incidents()}
    assert rows_of(it.platform, content) == (200, 0)
