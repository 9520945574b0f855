"""What a pipeline says about its files, so that the platform can bring them to bronze."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipeline_platform.ingestion.rejected_lines import RejectedLine
from pipeline_platform.lake.lake import Rows
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.zone import ClaimedFile
from pipeline_platform.run_context import RunContext

HOP = "landing_to_bronze"
"""The first hop of the conservation ledger, and of quarantined records."""


@dataclass(frozen=True)
class Vendor:
    """Who delivered a file: a data vendor, or the source that a stream or log comes from.

    `mapping_version` is the version of what its files are read through.
    """

    name: str
    display_name: str
    mapping_version: str


class Reading(Protocol):
    """An opened file: good records as rows of the bronze table, the rest as rejected lines.

    Rows are pulled once. Afterwards `rejected` and `arrived` are asked for, and `failure` is what
    the reading ended in, for an engine that hides the exception of an iterator it pulls from.
    """

    @property
    def rows(self) -> Rows:
        """The good records, with the columns of the bronze table."""

    def rejected(self, published: int) -> Iterable[RejectedLine]:
        """Return the lines that stay out of bronze; `published` records were written.

        Raises BadInputError for a file of which nothing can be published.
        """

    @property
    def arrived(self) -> Mapping[str, int]:
        """How many records the file holds, rejected ones included, by partition key.

        Under '' stand those whose partition is unknown, or all if records are counted without
        regard to partitions. Counted where the file is read, not from what was written: the
        ledger compares the two.
        """

    @property
    def failure(self) -> Exception | None:
        """The error that the reading ended in, if it did."""


class Intake(Protocol):
    """A pipeline's way to read its files, in one run."""

    @property
    def run(self) -> RunContext:
        """The run's surroundings."""

    @property
    def table(self) -> LakeTable:
        """The bronze table; it has a column `file_sha256` and is partitioned by a date."""

    def vendor_of(self, file_name: str) -> Vendor:
        """Return whose file it is, from its name; raise BadInputError if nobody's."""

    def read(
        self, file: ClaimedFile, path: Path, received_at: datetime
    ) -> AbstractContextManager[Reading]:
        """Open the content of a file at a local path; raise BadInputError if that can't be.

        `received_at` (UTC) is when the content arrived for the first time.
        """


def rule_of(error: Exception) -> str:
    """Return the name of the rule by which a whole file is refused."""
    return str(getattr(error, "rule", "unreadable_file"))
