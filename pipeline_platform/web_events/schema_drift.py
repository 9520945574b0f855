"""What delivered records look like, and how that differs from the days before (SW-16).

A record's shape is its own keys and the JSON types of their values; null counts as absent. Shapes
are of samples, so a change counts only where chance can't make it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LEAST_EXPECTED = 10
"""A key is missed only where the days before let expect so many of it: none is no chance then."""

SHOWN_CHARACTERS = 64
_NUMBERS = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DOUBLE"}
_NAMES = {"VARCHAR": "text", "BOOLEAN": "boolean", "OBJECT": "object", "ARRAY": "array"}


@dataclass(frozen=True)
class Shape:
    """How many records a sample has, and how many of them hold a key with a type."""

    records: int
    counts: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, records: int, found: Iterable[tuple[str, str, int]]) -> "Shape":
        """Build it from key, DuckDB's JSON type and count."""
        counts: dict[str, dict[str, int]] = defaultdict(dict)
        for key, kind, count in found:
            name = "number" if kind in _NUMBERS else _NAMES.get(kind)
            if name is not None:
                counts[key][name] = counts[key].get(name, 0) + count
        return cls(records, counts)

    def share(self, key: str) -> float:
        """Return the share of records that hold a key."""
        return sum(self.counts.get(key, {}).values()) / self.records if self.records else 0.0


def drift(day: Shape, before: Sequence[Shape], *, least_share: float) -> list[str]:
    """Return what changed in a day against those before, a sentence a change, sorted.

    New is a key, or a type of a known key, that no sample before had and at least `least_share` of
    the day's records have; keys that are rarer each count as one change if together they reach it.
    Vanished is a key that every day before had and that the day has in no record.
    """
    types: dict[str, set[str]] = defaultdict(set)
    for shape in before:
        for key, counts in shape.counts.items():
            types[key].update(counts)
    least = least_share * day.records
    found, rare, of_rare = [], 0, 0
    for key, counts in day.counts.items():
        shown = key[:SHOWN_CHARACTERS]
        total = sum(counts.values())
        if key not in types:
            if total >= least:
                found.append(f"key {shown} is new")
            else:
                rare, of_rare = rare + 1, of_rare + total
            continue
        new = sorted(name for name, n in counts.items() if name not in types[key] and n >= least)
        if new:
            known = " or ".join(sorted(types[key]))
            found.append(f"key {shown} is {' and '.join(new)}, was {known}")
    if rare and of_rare >= least:
        found.append(f"{rare} rare keys are new")
    for key in types:
        expected = min(shape.share(key) for shape in before) * day.records
        if key not in day.counts and expected >= LEAST_EXPECTED:
            found.append(f"key {key[:SHOWN_CHARACTERS]} vanished")
    return sorted(found)
