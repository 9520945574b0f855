"""Which held records and files an operator wants replayed (XC-6)."""

from dataclasses import dataclass

from pipeline_platform.quality.quarantine import QuarantinedRow, list_rows
from pipeline_platform.quality.quarantined_files import HeldFile, list_files
from pipeline_platform.run_context import RunContext


@dataclass(frozen=True)
class Selection:
    """Which held records and files to replay; None = any. `file_sha256` may be a beginning.

    `partition_key` is 'YYYY-MM-DD'. A refused file has none, so that it selects records only.
    """

    vendor: str | None = None
    rule: str | None = None
    file_sha256: str | None = None
    partition_key: str | None = None

    @property
    def in_words(self) -> str:
        """What is selected, in few words."""
        named = {name: value for name, value in vars(self).items() if value is not None}
        return ", ".join(f"{name} {value}" for name, value in named.items()) or "everything held"


@dataclass(frozen=True)
class Replayable:
    """What a selection found in quarantine."""

    rows: tuple[QuarantinedRow, ...]
    files: tuple[HeldFile, ...]

    @property
    def refused(self) -> frozenset[str]:
        """The hashes of the refused files."""
        return frozenset(file.file_sha256 for file in self.files)


def find_replayable(run: RunContext, selection: Selection) -> Replayable:
    """Return the held records, without their text, and files that a selection names."""
    pipeline = run.runbook.pipeline
    with run.services.database.connection() as connection:
        rows = list_rows(
            connection,
            pipeline,
            file_sha256=selection.file_sha256,
            rule=selection.rule,
            vendor=selection.vendor,
            partition_key=selection.partition_key,
            limit=None,
            with_text=False,
        )
        files = [] if selection.partition_key else list_files(connection, pipeline, limit=None)
    wanted = [
        file
        for file in files
        if selection.vendor in (None, file.vendor)
        and selection.rule in (None, file.rule)
        and file.file_sha256.startswith(selection.file_sha256 or "")
    ]
    return Replayable(tuple(held.row for held in rows), tuple(wanted))
