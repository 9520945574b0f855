"""Files that nobody needs any more: found by reachability, and looked at again before they go.

A file of a table is an orphan when none of the table's metadata lead to it, when it is older than
a limit, and when no unfinished run wrote it. What writes at this moment has young files; what
staged long ago and still runs is known by its run id, with which the names of its files begin.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake.engine import local_temp
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.reachability import Reachability
from pipeline_platform.lake.staging import file_name_part, staging_location
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.objects import ObjectStore, StoredObject, UnsafeNameError
from pipeline_platform.settings import Settings

FILES_PER_PROOF = 500
"""So many files are deleted before the table's metadata are read again."""

_TEMPORARY = "temporary"
_STAGED = "staged by a run that has ended"


@dataclass(frozen=True)
class Doomed:
    """A file that may go: where it is, how large, since when, and why nobody needs it."""

    path: str
    size_bytes: int
    modified_at: datetime
    reason: str


@dataclass(frozen=True)
class Removal:
    """What became of a plan: the files that went, and why the others stayed."""

    removed: tuple[Doomed, ...]
    kept: Mapping[str, str]


def plan_orphans(
    lake: Lake,
    table: LakeTable,
    *,
    kept_for: timedelta,
    now: datetime,
    unfinished_runs: Collection[str],
) -> list[Doomed]:
    """Return the files below a table's location, data and metadata, that nothing needs.

    Raises PermanentError when a file of the current snapshot is not among those that the location
    shows: then the two spell paths differently, or a file is lost, and nothing may be concluded.
    """
    iceberg = lake.iceberg(table)
    location = iceberg.location()
    # Listed before the metadata are read: what is written in between is not in the list.
    listed = {
        f"{location}/{one.key}": one for one in ObjectStore.at(location, lake.settings).list()
    }
    reachability = Reachability()
    fresh = lake.iceberg(table)
    reached = reachability.paths(fresh)
    hidden = {
        path
        for path in reachability.current_files(iceberg)
        if path.startswith(f"{location}/") and path not in listed
    }
    if hidden:
        raise PermanentError(
            f"The table {table.name} names {len(hidden)} files that its location does not show, "
            f"such as {min(hidden)}; nothing was removed. Restore them, or correct the location."
        )
    marks = run_marks(unfinished_runs)
    return [
        Doomed(path, one.size_bytes, one.modified_at, _reason(one.key))
        for path, one in sorted(listed.items())
        if path not in reached and one.modified_at < now - kept_for and not _is_of(one.key, marks)
    ]


def remove_orphans(
    lake: Lake,
    table: LakeTable,
    plan: Collection[Doomed],
    *,
    unfinished_runs: Callable[[], Collection[str]],
    still_alone: Callable[[], None],
) -> Removal:
    """Delete what a plan names, unless it is needed by now.

    Before each stretch of files `still_alone` may raise because the maintenance lock is lost;
    then the metadata and the unfinished runs are read anew, and each file must still be the one
    that was planned.
    """
    reachability = Reachability()
    files = sorted(plan, key=lambda one: one.path)

    def needed(doomed: Doomed, key: str, reached: set[str], marks: tuple[str, ...]) -> str | None:
        if doomed.path in reached:
            return "a snapshot names it now"
        return "an unfinished run wrote it" if _is_of(key, marks) else None

    removed: list[Doomed] = []
    kept: dict[str, str] = {}
    for start in range(0, len(files), FILES_PER_PROOF):
        still_alone()
        iceberg = lake.iceberg(table)
        reached, marks = reachability.paths(iceberg), run_marks(unfinished_runs())
        root = f"{iceberg.location()}/"
        store = ObjectStore.at(iceberg.location(), lake.settings)
        for doomed in files[start : start + FILES_PER_PROOF]:
            key = doomed.path.removeprefix(root)
            reason = needed(doomed, key, reached, marks) or _delete(store, key, doomed)
            if reason is None:
                removed.append(doomed)
            else:
                kept[doomed.path] = reason
    return Removal(tuple(removed), kept)


@dataclass(frozen=True)
class LeftoverRetention:
    """For how long temporary and staged files of ended runs are kept."""

    temp: timedelta
    staging: timedelta


def plan_leftovers(
    settings: Settings,
    pipeline: str,
    *,
    own: LeftoverRetention,
    shared: LeftoverRetention,
    others: Collection[str],
    now: datetime,
    unfinished_runs: Collection[str],
) -> list[Doomed]:
    """Return files of ended runs in the lake's staging place and among the temporary files.

    SW-37 and SA-41: older than so many days, not of exactly that day, so that a clean-up that was
    missed is made up for (D-8). A file is a pipeline's if a folder of its path has that name; those
    of the `others` are theirs to remove, those of nobody go by `shared` (X-7). Raises
    PermanentError if another location lies within them.
    """
    marks = run_marks(unfinished_runs)

    def goes(one: StoredObject, kind: str) -> bool:
        folders = set(one.key.split("/"))
        retention = own if pipeline in folders else shared
        kept_for = retention.temp if kind == _TEMPORARY else retention.staging
        is_theirs = pipeline not in folders and not folders.isdisjoint(others)
        return not is_theirs and one.modified_at < now - kept_for and not _is_of(one.key, marks)

    return [
        Doomed(f"{store.location}/{one.key}", one.size_bytes, one.modified_at, kind)
        for store, kind in _leftover_places(settings)
        for one in store.list()
        if goes(one, kind)
    ]


def remove_leftovers(
    settings: Settings, plan: Collection[Doomed], *, unfinished_runs: Collection[str]
) -> Removal:
    """Delete what `plan_leftovers` named, but what has changed since or a running run owns."""
    marks = run_marks(unfinished_runs)
    removed: list[Doomed] = []
    kept: dict[str, str] = {}
    places = [store for store, _ in _leftover_places(settings)]
    for doomed in plan:
        store = next(one for one in places if doomed.path.startswith(f"{one.location}/"))
        key = doomed.path.removeprefix(f"{store.location}/")
        reason = "an unfinished run owns it" if _is_of(key, marks) else _delete(store, key, doomed)
        if reason is not None:
            kept[doomed.path] = reason
            continue
        removed.append(doomed)
        store.remove_empty_folders(key)
    return Removal(tuple(removed), kept)


def run_marks(run_ids: Collection[str]) -> tuple[str, ...]:
    """Return how names of a run's files and folders begin, in the lake and in its staging place."""
    return tuple(f"{file_name_part(run_id)}-" for run_id in run_ids)


def _is_of(key: str, marks: tuple[str, ...]) -> bool:
    return any(part.startswith(marks) for part in key.split("/"))


def _reason(key: str) -> str:
    if not key.startswith("metadata/"):
        return "no remembered snapshot reads it"
    if key.endswith(".metadata.json"):
        return "not in the metadata log"
    return "no remembered snapshot leads to it"


def _delete(store: ObjectStore, key: str, doomed: Doomed) -> str | None:
    """Delete one file if it is still what was planned; return why it stays otherwise."""
    try:
        found: StoredObject = store.head(key)
    except NotFoundError:
        return "somebody else removed it"
    except UnsafeNameError:
        return "its name is not safe to handle; remove it by hand"
    if (found.size_bytes, found.modified_at) != (doomed.size_bytes, doomed.modified_at):
        return "it was written anew"
    store.delete(key)
    return None


def _leftover_places(settings: Settings) -> Iterator[tuple[ObjectStore, str]]:
    temp = {str(local_temp(settings)), settings.temp_location}
    others = (settings.raw_location, settings.processed_location, settings.archive_location)
    for place in sorted(temp):
        inside = [one for one in others if f"{one}/".startswith(f"{place.rstrip('/')}/")]
        if inside:
            raise PermanentError(
                f"The temp location {place} holds {inside[0]}, which must not be cleaned up; give "
                "PLATFORM_TEMP_LOCATION a place of its own."
            )
        yield ObjectStore.at(place, settings), _TEMPORARY
    yield ObjectStore.at(staging_location(settings), settings), _STAGED
