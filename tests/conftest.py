"""Fixtures that every test may use: one embedded server per session, a fresh database per test.

The processes of pytest-xdist share the server; the controlling process stops it at the end.
"""

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from xdist.scheduler import LoadScopeScheduling

from pipeline_platform.orchestration import parsed_project
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.addresses import with_database
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.migrations import migrate
from tests import examples  # noqa: F401 - how many examples hypothesis tries

PROJECT = Path(parsed_project.__file__).parents[2] / "dbt_project"
SERVER_FOLDER = "embedded-server"
TOGETHER = {
    "tests/integration/api/": "api",
    "tests/integration/commands/": "commands",
    "tests/drills/": "drills",
    "tests/faults/test_advisory_killed": "killable runs",
    "tests/faults/test_relabelling_killed": "killable runs",
    "tests/faults/test_web_events_killed": "killable runs",
}
"""Modules that share what takes long to prepare, by the beginning of their names."""

# A shell has its background jobs ignore Ctrl-C, and so would the programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A worker of pytest-xdist says 80; what prints tables would keep to it, whatever a test asks for.
os.environ.pop("COLUMNS", None)

# The workers of pytest-xdist keep all cores busy: a second thread of a DuckDB would only wait for
# its turn. This is how DuckDB is told of its cores where nobody gives it a number of threads.
os.environ.setdefault("SLURM_CPUS_ON_NODE", "1")


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of the session's server, not durable; its database `template_migrated` is migrated."""
    url = embedded.start(_server_settings(_session_folder(tmp_path_factory)), is_durable=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        found = connection.execute("SELECT FROM pg_database WHERE datname = 'template_migrated'")
        if found.fetchone() is None:
            connection.execute("CREATE DATABASE template_migrated")
            migrate(with_database(url, "template_migrated"))
    return url


@pytest.fixture(scope="session", autouse=True)
def project_parsed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each platform begin with dbt's project as another one of the session keeps it parsed.

    Parsing it takes seconds, most of a build of few rows; a platform does so once in its life.
    """
    shared = _session_folder(tmp_path_factory) / "parsed-projects"
    read = parsed_project._read

    def begun(kept: Path, options: Sequence[str]) -> Any:
        ours = shared / kept.parent.name / kept.name
        if str(PROJECT) not in options:
            return read(kept, options)
        if ours.exists() and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ours, kept)
        found = read(kept, options)
        if not ours.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            whole = shutil.copy(kept, ours.with_name(uuid.uuid4().hex))
            whole.replace(ours)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsed_project, "_read", begun)
        yield


@pytest.fixture(scope="session")
def made_databases() -> list[str]:
    """URLs of the databases that tests made and that were not dropped yet."""
    return []


@pytest.fixture(scope="module", autouse=True)
def databases_end_with_their_module(made_databases: list[str]) -> Iterator[None]:
    """Drop what a module's tests made: all databases of a session would fill a small disk."""
    yield
    while made_databases:
        url = made_databases.pop()
        name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
        with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture(scope="session")
def new_database(database_server: str, made_databases: list[str]) -> Callable[..., str]:
    """Make another fresh, migrated database and return its URL; it ends with the module.

    Or one like that of the given name, to which nobody may be connected.
    """

    def make(template: str = "template_migrated") -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        with psycopg.connect(database_server, autocommit=True) as connection:
            # One at a time: a template can't be copied while another session uses it.
            connection.execute("SELECT pg_advisory_lock(1)")
            connection.execute(command.format(sql.Identifier(name), sql.Identifier(template)))
        made_databases.append(with_database(database_server, name))
        return made_databases[-1]

    return make


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """URL of a fresh, migrated database of this test alone."""
    return new_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Pooled connections to the test's database."""
    with Database(database_url) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings whose home is the test's folder and whose database is the test's own."""
    return Settings(
        home=tmp_path / "home", environment="test", database_url=SecretStr(database_url)
    )


class OneWorkerForWhatIsShared(LoadScopeScheduling):
    """Each module to a worker, as `loadscope` does, but all that share something to one."""

    def _split_scope(self, nodeid: str) -> str:
        shared = [name for begin, name in TOGETHER.items() if nodeid.startswith(begin)]
        return shared[0] if shared else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """Have what modules share prepared once, not once by each worker."""
    is_by_scope = config.getvalue("dist") == "loadscope"
    return OneWorkerForWhatIsShared(config, log) if is_by_scope else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the server once every worker has ended."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if not hasattr(session.config, "workerinput") and factory is not None:
        embedded.stop(_server_settings(factory.getbasetemp()))


def _server_settings(folder: Path) -> Settings:
    return Settings(home=folder / SERVER_FOLDER, environment="test")


def _session_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of the session share."""
    own = factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own
