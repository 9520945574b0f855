"""What is broken: the first question of every recovery; looking changes nothing."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.export import lost_files, table_names
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.backups import database_urls, is_ours
from pipeline_platform.recovery.landing_copies import lost_deliveries
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import connect
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.table_contents import contents


@dataclass(frozen=True)
class Damage:
    """What is broken: the database's fault, if any, lost files by table, and of landing zones."""

    database: str | None
    lake: dict[str, int] = field(default_factory=dict)
    lake_unknown: str | None = None
    landing: dict[str, int] = field(default_factory=dict)

    def in_words(self) -> list[str]:
        """Say it."""
        said = [f"database: {self.database or 'answers, and all of it can be read'}"]
        if self.lake_unknown:
            said.append(f"lake: {self.lake_unknown}")
        elif not self.lake:
            said.append("lake: no table has lost a file")
        else:
            said += [
                f"lake: {name} has lost {count} files" for name, count in sorted(self.lake.items())
            ]
        said += [
            f"landing: {name} has lost {count} files"
            for name, count in sorted(self.landing.items())
        ]
        return said


def assess(settings: Settings, sets: BackupSets, now: datetime) -> Damage:
    """Read every page of the database, and look for every file of the lake and landing zones.

    Starts the embedded server, unless its data are gone: a new one would be empty.
    """
    fault = _database_fault(settings)
    if fault is not None:
        return Damage(fault, lake_unknown="the database has its catalog, so it is looked at later")
    try:
        with Services(settings) as services:
            names = table_names(services.lake)
            lost = {".".join(one): len(lost_files(services.lake, one)) for one in names}
            delivered = sets.newest("landing")
            part = delivered.landing if delivered else None
            undelivered = lost_deliveries(services, sets, part, now) if part else []
    except PlatformError as error:
        return Damage(None, lake_unknown=str(error))
    damaged = {name: count for name, count in lost.items() if count}
    newest = sets.newest("lake")
    for table in newest.lake.tables if newest and newest.lake else ():
        if ".".join(table.identifier) not in lost:
            damaged[".".join(table.identifier)] = table.file_count
    return Damage(None, damaged, landing=Counter(one.pipeline for one in undelivered))


def _database_fault(settings: Settings) -> str | None:
    if is_ours(settings):
        data = ServerFiles(settings.home).data
        if not (data / "PG_VERSION").exists():
            return f"its data are gone ({data})"
    try:
        urls = database_urls(settings)
        contents(urls)
        with connect(urls["platform"]) as connection:
            connection.execute("SELECT FROM schema_migrations")
    except PlatformError as error:
        return str(error)
    except psycopg.Error as error:
        return f"it can't be read ({error.diag.message_primary or type(error).__name__})"
    return None
