"""Versioned migrations: ordered SQL files, forward and back, each in one transaction."""

from dataclasses import dataclass
from pathlib import Path

import psycopg

from pipeline_platform.failures import InvalidSettingError, UnavailableError

FOLDER = Path(__file__).with_name("migrations")
_LOCK = "pipeline_platform.migrations"
_REGISTER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True)
class Migration:
    """One step of the schema: `<version>_<name>.up.sql` and its `.down.sql`."""

    version: int
    name: str

    @property
    def up(self) -> str:
        """SQL that takes the schema forward."""
        return (FOLDER / f"{self.version:04d}_{self.name}.up.sql").read_text("utf-8")

    @property
    def down(self) -> str:
        """SQL that takes the schema back."""
        return (FOLDER / f"{self.version:04d}_{self.name}.down.sql").read_text("utf-8")


def migrations() -> list[Migration]:
    """Return every migration of this version of the platform, in order."""
    names = sorted(path.name.removesuffix(".up.sql") for path in FOLDER.glob("*.up.sql"))
    return [Migration(int(name[:4]), name[5:]) for name in names]


def migrate(url: str) -> list[int]:
    """Bring the schema up to date; return the versions applied now (none if it already was).

    Safe to call from several processes at once: one migrates, the others wait for it.
    """
    applied: list[int] = []
    with _locked(url) as conn:
        done = _versions(conn)
        for step in migrations():
            if step.version in done:
                continue
            with conn.transaction():
                conn.execute(step.up.encode())
                conn.execute(
                    "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)",
                    (step.version, step.name),
                )
            applied.append(step.version)
    return applied


def rollback(url: str, to: int) -> list[int]:
    """Undo every migration above version `to` (0 = all), newest first; return what was undone."""
    undone: list[int] = []
    with _locked(url) as conn:
        done = _versions(conn)
        known = {step.version: step for step in migrations()}
        for version in sorted((v for v in done if v > to), reverse=True):
            if version not in known:
                raise InvalidSettingError(
                    f"The database has migration {version}, which this version of the platform "
                    "does not know; roll back with the version that applied it."
                )
            with conn.transaction():
                conn.execute(known[version].down.encode())
                conn.execute("DELETE FROM schema_migrations WHERE version = %s", (version,))
            undone.append(version)
    return undone


def _locked(url: str) -> psycopg.Connection[tuple[int]]:
    """Connect and hold the migration lock until the connection closes."""
    try:
        conn: psycopg.Connection[tuple[int]] = psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError as error:
        raise UnavailableError(
            "The database can't be reached to migrate its schema "
            f"({type(error).__name__}); run scripts/test_db_connection.py to see which layer fails."
        ) from None
    conn.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (_LOCK,))
    conn.execute(_REGISTER)
    return conn


def _versions(conn: psycopg.Connection[tuple[int]]) -> set[int]:
    return {row[0] for row in conn.execute("SELECT version FROM schema_migrations")}
