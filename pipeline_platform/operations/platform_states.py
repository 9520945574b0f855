"""What the platform runs with: code, runbooks and settings, and since when (B-12).

Each round of the sensor of alerts looks; a row is written when something differs from the round
before. So "what changed since" is asked of two rows, and needs neither Git nor a deployment's log.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from psycopg.types.json import Jsonb

from pipeline_platform.censor import Censor
from pipeline_platform.code_version import code_files, code_version
from pipeline_platform.operations.plan import alertings
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import Connection

FIRST_WITHIN = timedelta(minutes=5)
SHOWN_FILES = 4
SHOWN_VALUES = 4
Flat = Mapping[str, str]
"""Values by their path, such as `thresholds.backup_age.bands.warning.limit`."""


@dataclass(frozen=True)
class PlatformState:
    """The code's version and the hash of each file, each runbook's values, and the settings'.

    Secrets are masked, so a changed password is no difference.
    """

    code_version: str
    files: Flat
    runbooks: Mapping[str, Flat]
    settings: Flat


def present_state(settings: Settings) -> PlatformState:
    """Return what this process runs with."""
    clean = Censor(settings).clean
    given = dict(flattened(settings.model_dump(mode="json")))
    shown = {name: clean(text) for name, text in given.items()}
    return PlatformState(code_version(), code_files(), _runbooks(), shown)


@cache
def _runbooks() -> Mapping[str, Flat]:
    return {
        name: dict(flattened(alerting.model_dump(mode="json")))
        for name, alerting in alertings().items()
    }


def flattened(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each leaf with its path; an entry of a list is called by its severity or place."""
    if isinstance(value, dict):
        parts = [(str(name), one) for name, one in value.items()]
    elif isinstance(value, list):
        parts = [
            (str(one.get("severity", number)) if isinstance(one, dict) else str(number), one)
            for number, one in enumerate(value)
        ]
    else:
        yield path, "" if value is None else str(value)
        return
    for name, one in parts:
        yield from flattened(one, f"{path}.{name}" if path else name)


def remember_state(conn: Connection, state: PlatformState, now: datetime) -> None:
    """Write down what the platform runs with, if that is not what was written last."""
    text = json.dumps(state.__dict__, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    conn.execute(
        "INSERT INTO platform_states SELECT %(now)s, %(digest)s, %(state)s WHERE %(digest)s"
        " IS DISTINCT FROM (SELECT digest FROM platform_states ORDER BY seen_at DESC LIMIT 1)"
        " ON CONFLICT DO NOTHING",
        {"now": now, "digest": digest, "state": Jsonb(state.__dict__)},
    )


def state_at(conn: Connection, at: datetime) -> PlatformState | None:
    """Return what the platform ran with at an instant; None before the first that is remembered.

    The first is remembered by a round that reads what happened a little earlier, so it counts then.
    """
    row = conn.execute(
        "SELECT state FROM platform_states WHERE seen_at <= %(at)s OR seen_at = (SELECT"
        " min(seen_at) FROM platform_states WHERE seen_at <= %(at)s::timestamptz + %(gap)s)"
        " ORDER BY seen_at DESC LIMIT 1",
        {"at": at, "gap": FIRST_WITHIN},
    ).fetchone()
    return PlatformState(**row[0]) if row else None


def state_changes(before: PlatformState, after: PlatformState) -> list[str]:
    """Say what differs, one sentence for code, one for each runbook, one for the settings."""
    found: list[str] = []
    files = _differing(before.files, after.files)
    if files or before.code_version != after.code_version:
        told = f"code {before.code_version} -> {after.code_version}"
        found.append(f"{told}: {_shown(files, SHOWN_FILES)}" if files else told)
    for name in sorted({*before.runbooks, *after.runbooks}):
        values = _changed_values(before.runbooks.get(name, {}), after.runbooks.get(name, {}))
        if values:
            found.append(f"runbook of {name}: {_shown(values, SHOWN_VALUES)}")
    values = _changed_values(before.settings, after.settings)
    if values:
        found.append(f"settings: {_shown(values, SHOWN_VALUES)}")
    return found


def _differing(before: Flat, after: Flat) -> list[str]:
    return [
        one for one in sorted({*before, *after}) if before.get(one) != after.get(one)
    ]  # fmt: skip


def _changed_values(before: Flat, after: Flat) -> list[str]:
    return [
        f"{name} {before.get(name, 'new')} -> {after.get(name, 'gone')}"
        for name in _differing(before, after)
    ]


def _shown(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
