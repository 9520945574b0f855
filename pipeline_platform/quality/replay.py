"""What a replay would do, before it does it: pure comparison of held and newly rejected records."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline_platform.quality.quarantine import QuarantinedRow


@dataclass(frozen=True)
class ReplayPreview:
    """How held records would come out (B-9).

    `passing`: records that no rule rejects any more. `still_failing`: rule -> records, by the
    rule that rejects them now. `newly_failing`: rule -> records that were not held before, which
    a stricter rule would take out of the table. `months` and `files` are those that change.
    """

    passing: int
    still_failing: Mapping[str, int]
    newly_failing: Mapping[str, int] = field(default_factory=dict)
    months: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def held(self) -> int:
        """How many records were looked at."""
        return self.passing + sum(self.still_failing.values())

    @property
    def changes_nothing(self) -> bool:
        """Tell whether publishing the replay would leave the tables as they are."""
        return not (self.passing or self.newly_failing)


def preview_replay(
    held: Sequence[QuarantinedRow],
    rejected: Sequence[QuarantinedRow],
    *,
    discarded: Collection[tuple[str, str, int]] = (),
) -> ReplayPreview:
    """Compare records held in quarantine with those that judging rejects now.

    `held` and `rejected` must be of the same files or partitions. `discarded` holds the places
    (hop, file, line) of records given up earlier: that they are rejected again is nothing new.
    """
    rejected_by = {row.place: row for row in rejected}
    held_places = {row.place for row in held}
    passing = [row for row in held if row.place not in rejected_by]
    known = held_places | set(discarded)
    new = [row for row in rejected if row.place not in known]
    changed = [*passing, *new]
    return ReplayPreview(
        passing=len(passing),
        still_failing=_by_rule([rejected_by[p] for p in held_places if p in rejected_by]),
        newly_failing=_by_rule(new),
        months=tuple(sorted({row.partition_key for row in changed if row.partition_key})),
        files=tuple(sorted({row.file_sha256 for row in changed})),
    )


def _by_rule(rows: Sequence[QuarantinedRow]) -> dict[str, int]:
    return dict(sorted(Counter(row.rule for row in rows).items()))
