"""Read files again that quarantine holds, or that hold rejected lines, after a mend (XC-6, B-9)."""

from collections.abc import Iterator, Sequence

from pipeline_platform.failures import NotFoundError
from pipeline_platform.ingestion.files import (
    FILES_PER_COMMIT,
    FileOutcome,
    ingest_files,
    ingest_lock,
    landing_of,
)
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.ingestion.trial import place_of
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.warehouse.locks import named_lock


def read_again(intake: Intake, files: Sequence[tuple[str, str]]) -> Iterator[FileOutcome]:
    """Bring files (hash, name) back and read them, in bounded commits; one outcome per file.

    No other run may recover them meanwhile. Raises NotFoundError for one that lies nowhere.
    """
    zone = landing_of(intake)
    lock = ingest_lock(zone.pipeline)
    with named_lock(intake.run.services.database, lock, is_shared=True):
        for start in range(0, len(files), FILES_PER_COMMIT):
            claimed = []
            for sha256, name in files[start : start + FILES_PER_COMMIT]:
                found = place_of(intake, sha256, name)
                if found is None:
                    raise NotFoundError(
                        f"{name} is neither in archive nor in quarantine any more; "
                        "look with `landing list`."
                    )
                claimed.append(zone.restore(sha256, stored_name(found[1].key, sha256)))
            yield from ingest_files(intake, claimed, again=True)
