"""Lifecycle rules of a bucket that would take files away which snapshots still need (B-13)."""

from collections.abc import Iterable, Mapping
from typing import Any

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes that can't be read at once."""


def threats(rules: Iterable[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return what rules would do to objects below a prefix that must stay readable, one each.

    `rules` are S3's, as it returns them. A rule for tagged objects touches none of ours, and one
    for noncurrent versions none that a snapshot names.
    """
    found = []
    for rule in rules:
        filters = rule.get("Filter", {})
        both = filters.get("And", filters)
        of = rule.get("Prefix") or both.get("Prefix") or ""
        if rule.get("Status") != "Enabled" or "Tag" in both or both.get("Tags"):
            continue
        if not (of.startswith(prefix) or prefix.startswith(of)):
            continue
        ends = [
            f"moves them to {one['StorageClass']}"
            for one in rule.get("Transitions", [])
            if one["StorageClass"] in ARCHIVES
        ]
        if {"Days", "Date"} & set(rule.get("Expiration", {})):
            ends.append("deletes them")
        name = rule.get("ID", "without a name")
        found += [f"the rule {name!r} for {of or 'all objects'} {end}" for end in ends]
    return found
