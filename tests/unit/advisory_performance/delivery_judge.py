"""What should become of records, worked out record by record: the yardstick for corrections.

Knows one vendor with combined records only; written without a look at the SQL.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Delivered:
    """A combined record: None is "not delivered"; file n arrives after file n - 1."""

    file: int
    line: int
    account: str
    day: str
    value: Decimal | None = None
    flow: Decimal | None = None
    flow_id: str | None = None
    reported: Decimal | None = None
    period: str = "daily"

    @property
    def states_no_flow(self) -> bool:
        return self.value is not None and not self.flow

    @property
    def parts(self) -> dict[Hashable, Hashable]:
        """What the record states, apart from flows: key -> content."""
        stated: dict[Hashable, Hashable] = {}
        if self.value is not None:
            stated["value", self.account, self.day] = self.value
        if self.reported is not None:
            stated["return", self.account, self.day, self.period] = self.reported
        return stated

    @property
    def has_flow(self) -> bool:
        return self.flow is not None and not self.states_no_flow


@dataclass(frozen=True)
class Version:
    """One published content of a key: the record that carries it and until which file it holds."""

    key: Hashable
    content: Hashable
    file: int
    line: int
    until_file: int | None


def judge(records: Sequence[Delivered]) -> tuple[set[Version], set[Delivered], set[Delivered]]:
    """Return versions, quarantined records and deduplicated records."""
    empty = {r for r in records if not r.parts and not r.has_flow}
    quarantined = empty | _conflicting([r for r in records if r not in empty])
    good = sorted(
        (r for r in records if r not in quarantined), key=lambda one: (one.file, one.line)
    )
    versions: set[Version] = set()
    useful: set[Delivered] = set()
    statements: dict[Hashable, list[tuple[Hashable, Delivered]]] = defaultdict(list)
    for one in good:
        for key, content in one.parts.items():
            statements[key].append((content, one))
    for key, stated in statements.items():
        news = [
            (content, one)
            for position, (content, one) in enumerate(stated)
            if position == 0 or stated[position - 1][0] != content
        ]
        for position, (content, one) in enumerate(news):
            later = news[position + 1][1].file if position + 1 < len(news) else None
            versions.add(Version(key, content, one.file, one.line, later))
            useful.add(one)
    _judge_flows(good, versions, useful)
    return versions, quarantined, set(good) - useful


def _conflicting(records: Sequence[Delivered]) -> set[Delivered]:
    contents: dict[Hashable, set[Hashable]] = defaultdict(set)
    keys: dict[Delivered, list[Hashable]] = defaultdict(list)
    for one in records:
        stated = dict(one.parts)
        if one.has_flow and one.flow_id is not None:
            stated["flow", one.account, one.day, one.flow_id] = one.flow
        for key, content in stated.items():
            contents[one.file, key].add(content)
            keys[one].append((one.file, key))
    return {one for one in records if any(len(contents[key]) > 1 for key in keys[one])}


def _judge_flows(good: Sequence[Delivered], versions: set[Version], useful: set[Delivered]) -> None:
    for account, day in {(one.account, one.day) for one in good}:
        known: dict[Hashable, Delivered] = {}
        since: list[Version] = []
        of_day = [one for one in good if (one.account, one.day) == (account, day)]
        for file in sorted({one.file for one in of_day}):
            here = [one for one in of_day if one.file == file]
            stated: dict[Hashable, Delivered] = {}
            for one in here:
                if one.has_flow:
                    stated.setdefault((one.flow, one.flow_id), one)
            silent = [one for one in here if one.states_no_flow]
            if (not stated and not silent) or set(stated) == set(known):
                continue
            for version in since:
                versions.remove(version)
                versions.add(
                    Version(version.key, version.content, version.file, version.line, file)
                )
            key = ("flow", account, day)
            since = [Version(key, what, file, one.line, None) for what, one in stated.items()]
            versions.update(since)
            useful.update(stated.values())
            if not stated:
                useful.add(silent[0])
            known = stated
