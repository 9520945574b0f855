"""What is remembered of one guided recovery: what was chosen, and the steps that were done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

Step = Literal["assess", "stop", "choose", "restore", "verify", "resume", "validate", "lessons"]
STEPS: tuple[Step, ...] = get_args(Step)


class Done(BaseModel):
    """A step that was done: when, and what it said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step
    at: datetime
    said: tuple[str, ...]


class Recovery(BaseModel):
    """One recovery, as its file remembers it.

    `database` and `lake` say what is brought back, `backup_id` and `at` from what and to when; they
    are settled by the steps assess and choose. `database_said` is what the step restore said of the
    database once that was back; None before. `faults` are what the step validate found, `lessons`
    what people wrote down.
    """

    model_config = ConfigDict(extra="forbid")

    began_at: datetime
    by: str
    reason: str
    database: bool | None = None
    lake: bool | None = None
    at: datetime | None = None
    database_backup: str | None = None
    lake_backup: str | None = None
    database_said: tuple[str, ...] | None = None
    faults: tuple[str, ...] = ()
    lessons: tuple[str, ...] = ()
    done: list[Done] = []

    @property
    def next_step(self) -> Step | None:
        """The first step that was not done yet; None at the end."""
        done = {one.step for one in self.done}
        return next((one for one in STEPS if one not in done), None)


@dataclass(frozen=True)
class EndedRecovery:
    """A recovery: when, by whom and why, what each step said, what was wrong after it, lessons.

    `steps` has for each `step`, `at` (an instant in ISO 8601) and `said`, a list of sentences.
    """

    began_at: datetime
    ended_at: datetime
    recovered_by: str
    reason: str
    steps: Sequence[dict[str, Any]]
    faults: Sequence[str]
    lessons: Sequence[str]
