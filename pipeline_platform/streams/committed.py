"""Where a table says up to where it holds a stream: a property that moves with the rows.

The property names the files of the last batch too. Only that batch can be published and not yet
recorded in the database: the next one is published after it was.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from pipeline_platform.failures import PermanentError
from pipeline_platform.lake.publications import PropertyChange
from pipeline_platform.streams.reading import Positions


def property_name(stream: str) -> str:
    """Return the name of the table's property that holds a stream's positions."""
    return f"stream_positions.{stream}"


@dataclass(frozen=True)
class Committed:
    """Positions by shard and the hashes of the last batch's files, as a table's property has them.

    `fence` counts the runs that took over from one that may still be alive. `text` is the property
    itself; None where nothing of the stream was ever committed.
    """

    positions: Positions = field(default_factory=dict)
    last_files: frozenset[str] = frozenset()
    fence: int = 0
    text: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read the property; raise PermanentError if somebody else wrote it."""
        if text is None:
            return cls()
        try:
            read = json.loads(text)
            return cls(dict(read["shards"]), frozenset(read["last_files"]), read["fence"], text)
        except (ValueError, TypeError, KeyError):
            raise PermanentError(
                f"A table's stream positions can't be read: {text[:200]!r}; restore the property "
                "from `stream_positions` of the table's newest snapshot that has it."
            ) from None

    def moved(self, stream: str, positions: Positions, files: Iterable[str]) -> PropertyChange:
        """Return the change from here to the positions after a batch, made of these files."""
        return self._change(stream, positions, files, self.fence)

    def taken_over(self, stream: str) -> PropertyChange:
        """Return the change after which nobody who started from here can publish any more."""
        return self._change(stream, self.positions, self.last_files, self.fence + 1)

    def moved_back(self, stream: str, positions: Positions) -> PropertyChange:
        """Return the change to earlier positions, after which no reader from here can publish."""
        return self._change(stream, positions, [], self.fence + 1)

    def _change(
        self, stream: str, positions: Positions, files: Iterable[str], fence: int
    ) -> PropertyChange:
        value = {"shards": dict(positions), "last_files": sorted(files), "fence": fence}
        return PropertyChange(property_name(stream), self.text, json.dumps(value, sort_keys=True))
