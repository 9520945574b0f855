"""What a threshold of a runbook is: a measure, its unit and window, and its bands of severity."""

from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Severity = Literal["critical", "warning", "info"]
Direction = Literal["at_least", "at_most", "between"]
Dimension = Literal[
    "completeness", "validity", "uniqueness", "consistency", "timeliness", "accuracy"
]
Stage = Literal[
    "landing", "bronze", "silver", "gold", "serving", "service", "cost", "recovery", "checks"
]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""Most severe first."""


class Part(BaseModel):
    """A frozen piece of a file that people edit: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Remedy(Part):
    """The one safe command for a cause, and the dry run that shows what it would do (B-12).

    Both are written as for a shell, `pipeline-platform ...`. `{pipeline}`, `{asset}` and `{run}`
    stand for those of the incident. A command that only reads needs no dry run.
    """

    command: str = Field(pattern=r"^pipeline-platform \S")
    dry_run: str | None = Field(default=None, pattern=r"^pipeline-platform \S")

    @model_validator(mode="after")
    def _has_known_places(self) -> Self:
        self.filled(pipeline="p", asset="a", run="r")
        return self

    def filled(self, *, pipeline: str, asset: str, run: str) -> "Remedy":
        """Return the remedy of one incident; raises ValueError for a place that is not known."""
        places = {"pipeline": pipeline, "asset": asset, "run": run}

        def fill(text: str) -> str:
            try:
                return text.format_map(places)
            except (KeyError, IndexError) as error:
                raise ValueError(
                    f"the command {text!r} has the place {error}; there are pipeline, asset, run"
                ) from None

        dry_run = None if self.dry_run is None else fill(self.dry_run)
        return self.model_copy(update={"command": fill(self.command), "dry_run": dry_run})


class Band(Part):
    """One limit of a threshold and what follows when it is broken.

    `limit` is in the threshold's unit; with direction `between` it is the lower end and
    `upper_limit` the upper one. `is_inclusive` tells whether the limit itself still passes.
    `response_minutes` comes from `responses` unless the band sets its own.
    """

    severity: Severity
    limit: float
    upper_limit: float | None = None
    is_inclusive: bool
    response_minutes: int = Field(ge=0)
    route: str

    @property
    def upper(self) -> float:
        """The upper end; the limit itself where there is only one."""
        return self.limit if self.upper_limit is None else self.upper_limit


class MonthlyCost(Part):
    """Whose cost of the month a threshold limits (X-10): a service, named as AWS's bill names it.

    With a `budget`, in `currency`, the limits are percent of it (ST-94); without, they are amounts
    of the currency (ST-64).
    """

    service: str = Field(min_length=1)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    budget: Decimal | None = Field(default=None, gt=0)

    @property
    def unit(self) -> str:
        """The unit of the threshold."""
        return self.currency if self.budget is None else "percent"


class Threshold(Part):
    """A named limit: what is measured, in which unit, over which window, and its bands.

    `per` lists the groups that are judged each on their own; `is_proposed` marks a number that
    the operators' runbook leaves open and this platform chose. A blocking threshold stops a
    publication when its critical band is broken. A threshold that `follows_failed_runs` also
    breaks because runs failed or did not start: while a run is failed, it is the same cause.
    `check` is what its asset check is called: its name, with the pipeline's before it on an asset
    that all pipelines share, such as that of cost or of backups. `remedy` stands in for the one of
    its route. One that is not `is_told` is for the record only: alerts see by themselves what it
    counts. What has a `monthly_cost` is measured by the platform.
    """

    name: str
    check: str
    title: str
    requirements: list[str] = Field(min_length=1)
    measure: str
    unit: str
    direction: Direction
    clock: Literal["arrival", "commit", "event", "run_end", "wall"]
    window: str
    per: list[Literal["run", "day", "month", "file", "table", "vendor"]] = Field(
        default_factory=list
    )
    minimum_sample: int = Field(ge=0)
    bands: list[Band] = Field(min_length=1)
    is_blocking: bool = False
    is_proposed: bool = False
    follows_failed_runs: bool = False
    is_told: bool = True
    remedy: Remedy | None = None
    monthly_cost: MonthlyCost | None = None
    stage: Stage
    asset: str

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        for band in self.bands:
            if (band.upper_limit is not None) != (self.direction == "between"):
                raise ValueError("a band needs upper_limit with direction between, and only then")
            if band.upper_limit is not None and band.upper_limit <= band.limit:
                raise ValueError("upper_limit must be above limit")
        if len({band.severity for band in self.bands}) != len(self.bands):
            raise ValueError("a severity may have one band only")
        return self

    @model_validator(mode="after")
    def _is_of_its_months_cost(self) -> Self:
        cost = self.monthly_cost
        if cost is not None and (self.stage, self.direction, self.unit) != (
            "cost",
            "at_most",
            cost.unit,
        ):
            raise ValueError(
                f"a monthly_cost needs stage cost, direction at_most and unit {cost.unit}"
            )
        return self

    @property
    def severest_first(self) -> list[Band]:
        """The bands, the most severe first: the first broken one decides."""
        return sorted(self.bands, key=lambda band: SEVERITIES.index(band.severity))


def metric_name(threshold: str) -> str:
    """Return what monitoring systems call a threshold: `error_rate` is `ErrorRate`."""
    return "".join(word.capitalize() for word in threshold.split("_"))
