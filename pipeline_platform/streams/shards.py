"""Which shards may be read now: children wait until their parents are read to the end; pure.

A record's successors may lie in a child of its shard, so reading a child first would change the
order of a key's records.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline_platform.streams.reading import FINISHED, Positions


@dataclass(frozen=True)
class Shard:
    """A shard, and the shards that it was split or merged from."""

    name: str
    parents: tuple[str, ...] = ()
    is_closed: bool = False


def readable(shards: Iterable[Shard], positions: Positions) -> list[str]:
    """Return the unfinished shards none of whose parents has anything left to read.

    A parent that the stream no longer lists has expired: there is nothing left of it.
    """
    listed = {shard.name: shard for shard in shards}
    return [
        name
        for name, shard in sorted(listed.items())
        if positions.get(name) != FINISHED
        and all(positions.get(parent) == FINISHED for parent in shard.parents if parent in listed)
    ]


def remembered(shards: Iterable[Shard], positions: Positions) -> Mapping[str, str]:
    """Return the positions without those of finished shards that the stream no longer lists."""
    listed = {shard.name for shard in shards}
    return {
        name: position
        for name, position in positions.items()
        if name in listed or position != FINISHED
    }
