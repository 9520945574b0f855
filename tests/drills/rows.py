"""The drills: each fault, what must be told of it, the one command, and what is compared after."""

from dataclasses import dataclass
from typing import Literal

HEALTH = "checks every 5 min"
LOOK = "looks every 30 s"
OUTSIDE = "`alerts send` by cron every minute"


@dataclass(frozen=True)
class Fault:
    """One row of the table of drills.

    `alert` is the check, run or look that sees it, `route` the one that is told. `command` is what
    a person runs; a word in capitals is filled in from the incident or the message. `cadence` adds
    to the measured time until the alert, `waits` is what the alert itself waits for.
    """

    name: str
    how: str
    alert: str
    severity: Literal["critical", "warning"]
    route: str
    command: str
    cadence: str
    compared: str
    waits: str = "-"


@dataclass(frozen=True)
class Measured:
    """Seconds from the fault to the alert, of the command, and from its start to green."""

    until_alert: float
    until_green: float
