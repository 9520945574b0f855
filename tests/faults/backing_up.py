"""What test_backup_killed kills: a backup of the lake, with the database dumped, phase by phase.

It runs in a process that is forked from one which has loaded everything, and says which phase it
enters.
"""

from contextlib import contextmanager

import pyiceberg.catalog.sql
import pyiceberg.io.pyarrow
import pyiceberg.table  # noqa: F401 -- loaded before any process is forked
from pydantic import SecretStr

from pipeline_platform.recovery import backups
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

PHASES = ("database", "lake", "manifest")


def settings_at(home, url):
    return Settings(home=home, environment="test", database_url=SecretStr(url))


@contextmanager
def saying(said):
    """Say when each phase of a backup begins."""
    dumps, lake, put = backups._dumps, backups._lake, BackupSets.put

    def tell(phase, work):
        def told(*arguments):
            said.send(phase)
            return work(*arguments)

        return told

    backups._dumps, backups._lake = tell("database", dumps), tell("lake", lake)
    BackupSets.put = tell("manifest", put)
    try:
        yield
    finally:
        backups._dumps, backups._lake, BackupSets.put = dumps, lake, put


def main(home, url, said):
    """Make one backup."""
    with Services(settings_at(home, url)) as services, saying(said):
        create_backup(services, reason="killed", clock=utc_now, wait_seconds=60)
    said.send("done")
