"""The rulings of this pipeline's runbook: time, identity, sessions, bots and score."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from pipeline_platform import runbook
from pipeline_platform.quality.thresholds import Part


class Behaviour(Part):
    """From which behaviour on a visitor is a bot, whatever its agent says; see bot_behaviour.py."""

    max_pages_per_minute: int = Field(ge=1)
    fast_minutes: int = Field(ge=1)
    min_pages_without_assets: int = Field(ge=1)


Plain = Annotated[str, Field(pattern=r"^[\w ./:%-]+$")]
"""A text that goes into a model's SQL: neither quotes nor backslashes."""


class FunnelStep(Part):
    """One step of the funnel: an event type and, if given, a pattern of the path (SQL's `like`)."""

    name: Plain
    event_type: Plain
    url_path_pattern: Plain | None = None


class SchemaDrift(Part):
    """How records of a day are compared with those before: how many, and which share matters."""

    sampled_records: int = Field(ge=100)
    least_share_pct: float = Field(gt=0, le=100)


class Rulings(runbook.Rulings):
    """What this pipeline decides beyond what the platform needs."""

    model_config = ConfigDict(extra="forbid")

    session_minutes: int = Field(ge=1)
    late_after_hours: int = Field(ge=1)
    deduplication_days: int = Field(ge=0)
    max_future_minutes: int = Field(ge=0)
    max_json_depth: int = Field(ge=1)
    score: dict[str, float]
    behaviour: Behaviour
    friends: dict[str, str]
    known_event_types: list[str]
    baseline_days: int = Field(ge=1)
    trend_days: int = Field(ge=3)
    schema_drift: SchemaDrift
    funnel: list[FunnelStep] = Field(min_length=1)
    stream: runbook.StreamReading

    @model_validator(mode="after")
    def _steps_differ(self) -> Self:
        names = [step.name for step in self.funnel]
        if len(set(names)) != len(names):
            raise ValueError("two steps of the funnel have the same name")
        return self

    def in_words(self) -> list[tuple[str, str]]:
        """Return the rulings on time, identity, sessions, bots and score, then the platform's."""
        return [
            (
                "a session ends after",
                f"{self.session_minutes} minutes without an event, or at midnight",
            ),
            ("an event is late", f"more than {self.late_after_hours} hours after it happened"),
            ("an id counts once within", f"{self.deduplication_days} days before and after"),
            ("clocks may be ahead by", f"{self.max_future_minutes} minutes"),
            ("deepest nesting of a record", f"{self.max_json_depth} levels"),
            *((f"score: cost of {rule}", f"{cost:g}") for rule, cost in self.score.items()),
            ("bot: page requests in a minute", f"more than {self.behaviour.max_pages_per_minute}"),
            ("bot: such minutes in a day", f"{self.behaviour.fast_minutes} or more"),
            ("bot: pages without any asset", f"{self.behaviour.min_pages_without_assets} or more"),
            ("friends", ", ".join(self.friends) or "none"),
            ("baseline of volume and bot share", f"{self.baseline_days} days"),
            (
                "shape of records",
                f"{self.schema_drift.sampled_records:,} of a day and source; a change matters from"
                f" {self.schema_drift.least_share_pct:g} % of them on",
            ),
            ("window of a trend", f"{self.trend_days} days"),
            ("funnel", ", ".join(step.name for step in self.funnel)),
            ("the stream begins at", str(self.stream.start)),
            (
                "one batch of the stream",
                f"{self.stream.max_records:,} records, {self.stream.max_bytes:,} bytes"
                f" or {self.stream.max_seconds:g} seconds",
            ),
            *super().in_words(),
        ]


class Runbook(runbook.Runbook):
    """The runbook of web_events."""

    rulings: Rulings
