"""A backup is validated where it lies: counts, checksums, columns, contracts (SP-55)."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from pipeline_platform.lake.backup import back_up
from pipeline_platform.recovery.backup_contents import judge_contents, saved_tables
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import WEB_EVENTS
from tests.integration.commands.conftest import Shell
from tests.integration.web_events.event_files import deliver, events, ingest, refine_requested

ROOT = Path(__file__).parents[3]


def a_second_later() -> datetime:
    return utc_now() + timedelta(seconds=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_database) -> Settings:
    """A platform with a day of events, and beside it `backup-test`, its backups, and two others."""
    folder: Path = tmp_path_factory.mktemp("validated")
    url = SecretStr(new_database())
    settings = Settings(home=folder / "home", environment="test", database_url=url)
    with Services(settings) as services:
        run = RunContext(services, "run")
        deliver(services, "events_1.ndjson", events(20))
        ingest(run)
        refine_requested(run)
        create_backup(services, reason="test", clock=utc_now, has_database=False)
        shutil.copytree(settings.backups_location, folder / "backup-test")
        table = folder / "table"
        back_up(services.lake, WEB_EVENTS, str(table), partition=None, now=utc_now())
        with services.connect() as engine:
            rows = services.lake.relation(engine, WEB_EVENTS)
            wrong = rows.project("* REPLACE (7.0 AS data_quality_score)")
            staged = services.lake.stage(WEB_EVENTS, wrong, run_id="x", partition="2026-11-20")
        services.lake.publish(staged, replace="event_date == '2026-11-20'", properties={})
        create_backup(services, reason="bad rows", clock=a_second_later, has_database=False)
        shutil.copytree(settings.backups_location, folder / "bad-rows")
    return settings


def folder_of(made: Settings, name: str) -> str:
    return str(made.home.parent / name)


def validated(made: Settings, folder: str) -> Any:
    shell = Shell(made.home, made.database_url.get_secret_value())
    return shell.json("backup", "verify", folder, "--contents")


def test_the_script_of_the_runbook_validates_a_folder(made: Settings) -> None:
    ran = subprocess.run(
        [sys.executable, "scripts/validate_backup.py", folder_of(made, "backup-test"), "--json"],
        env={**os.environ, **made.to_env()},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert (found["faults"], found["rows read"], found["rules judged"] > 0) == ([], 40, True)


def test_the_copy_of_a_table_is_validated_as_well(made: Settings) -> None:
    found = validated(made, folder_of(made, "table"))
    assert (found["faults"], found["rows read"], found["rules judged"] > 0) == ([], 20, True)


def test_a_broken_contract_is_a_fault(made: Settings) -> None:
    found = validated(made, folder_of(made, "bad-rows"))
    assert [one.split(" (")[0] for one in found["faults"]] == [
        "web_events/silver/web_events breaks score_is_between_0_and_1"
    ]


def test_a_damaged_file_is_a_fault_and_the_exit_code_says_so(made: Settings, tmp_path) -> None:
    folder = shutil.copytree(folder_of(made, "backup-test"), tmp_path / "damaged")
    path = next(folder.glob("lake/**/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    shell = Shell(made.home, made.database_url.get_secret_value())
    result = shell("backup", "verify", str(folder), "--contents", "--json")
    assert (result.exit_code, "is damaged" in str(json.loads(result.stdout)["faults"])) == (1, True)


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (
            WEB_EVENTS.schema.append(pa.field("new", pa.string(), nullable=False)),
            "lacks the column new",
        ),
        (
            WEB_EVENTS.schema.set(3, pa.field("event_type", pa.int64())),
            "has event_type as VARCHAR, not BIGINT",
        ),
        (WEB_EVENTS.schema.remove(5), "has the column user_id, which nobody declares"),
    ],
)
def test_columns_that_are_not_those_of_the_table_are_faults(made, schema, fault) -> None:
    settings = made.model_copy(update={"backups_location": folder_of(made, "backup-test")})
    sets = BackupSets(settings)
    tables = list(saved_tables(sets, sets.newest()))
    declared = {"web_events/silver/web_events": replace(WEB_EVENTS, schema=schema)}
    judged = judge_contents(settings, tables, declared, utc_now())
    assert judged.faults == (f"web_events/silver/web_events {fault}",)
