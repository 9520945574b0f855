"""A platform that took sample files to PostgreSQL by commands alone; tests only read it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.advisory_performance.run_context import shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleArrivals,
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.cli import app
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded

END = date(2026, 3, 4)


@dataclass
class Shell:
    """Runs commands against one home and database; the embedded one if none is given."""

    home: Path
    database_url: str = ""

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "PLATFORM_HOME": str(self.home),
            "PLATFORM_DATABASE_URL": self.database_url,
            "PLATFORM_ENVIRONMENT": "test",
        }

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={**self.environment, "COLUMNS": "200"})

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code in (0, 1), result.output
        return json.loads(result.stdout)

    def services(self) -> Services:
        return Services(Settings.from_env(self.environment))


@contextmanager
def own_platform(home: Path) -> Iterator[Shell]:
    """Give a platform with an embedded server of its own: no other test's runs are in Dagster's."""
    settings = Settings(home=home, environment="test")
    embedded.start(settings, is_durable=False)
    try:
        yield Shell(home)
    finally:
        embedded.stop(settings)


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    """An empty platform of this test alone."""
    return Shell(tmp_path / "home", database_url)


@dataclass
class Processed:
    """The shared platform, and what the commands that filled it said."""

    shell: Shell
    ingested: Any
    waiting: Any
    ended: Result
    made: SampleArrivals


@pytest.fixture(scope="package")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processed]:
    """Sample files of 45 business days, with faults and corrections, processed by commands."""
    folder = tmp_path_factory.mktemp("commands")
    request = SampleRequest(
        accounts=2, days=45, end=END, fault_rate=0.02, has_file_faults=True, has_corrections=True
    )
    files = []
    made = generate_arrivals(request, dict(shipped_mappings()))
    for file in [*made.files, *made.corrections]:
        path = folder / file.name
        path.write_bytes(file.content)
        files.append(str(path))
    with own_platform(folder / "home") as shell:
        assert shell("landing", "put", *files).exit_code == 0
        ingested = shell.json("landing", "ingest")
        waiting = shell.json("partitions", "list")
        ended = shell("partitions", "process", "--anyway", "--json")
        yield Processed(shell, ingested, waiting, ended, made)
