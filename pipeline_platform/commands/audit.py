"""Commands that change something write down who did what, to what, and how it ended (XC-10)."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_platform.services import Services
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor


@contextmanager
def acting(
    opened: Services,
    what: str,
    target: str,
    *,
    reason: str | None = None,
    dry_run: bool = False,
) -> Iterator[Action]:
    """Record what the user of this process does; of a dry run nothing is recorded.

    What is known before and after it is set as `state_before` and `state_after` of what is given.
    """
    action = Action(command_line_actor(), what, target, None, reason)
    if dry_run:
        yield action
        return
    with audited(opened.database, action):
        yield action
