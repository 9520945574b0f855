"""The rulings of this pipeline's runbook: tolerances, materiality, how returns are read."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from pipeline_platform import runbook
from pipeline_platform.quality.thresholds import Part


class ToleranceOverride(Part):
    """Another tolerance for a vendor, an account class, a period, or any mixture of them."""

    vendor: str | None = None
    account_class: str | None = None
    period: str | None = None
    tolerance_bps: float = Field(ge=0)

    @property
    def specificity(self) -> tuple[bool, bool, bool]:
        """Vendor weighs more than account class, account class more than period."""
        return (self.vendor is not None, self.account_class is not None, self.period is not None)


class Tolerances(Part):
    """How far our return may be from the vendor's, in basis points (SA-8, SA-63)."""

    daily_bps: float = Field(ge=0)
    longer_bps: float = Field(ge=0)
    overrides: list[ToleranceOverride] = Field(default_factory=list)

    @model_validator(mode="after")
    def _no_doubles(self) -> Self:
        keys = [(o.vendor, o.account_class, o.period) for o in self.overrides]
        if len(set(keys)) != len(keys):
            raise ValueError("two overrides name the same vendor, account class and period")
        if (None, None, None) in keys:
            raise ValueError("an override must name a vendor, an account class or a period")
        return self

    def tolerance_bps(self, vendor: str, account_class: str, period: str) -> float:
        """Return the tolerance in basis points; the most specific override wins."""
        wanted = {"vendor": vendor, "account_class": account_class, "period": period}
        fitting = [
            override
            for override in self.overrides
            if all(getattr(override, name) in (None, value) for name, value in wanted.items())
        ]
        if fitting:
            return max(fitting, key=lambda override: override.specificity).tolerance_bps
        return self.daily_bps if period == "daily" else self.longer_bps


class Materiality(Part):
    """From which change on a restatement is material, the limit itself included (B-4)."""

    return_bps: float = Field(ge=0)
    longer_return_bps: float = Field(ge=0)
    account_value_pct: float = Field(ge=0)
    short_periods: list[str]
    notify: list[str] = Field(min_length=1)
    reissue_times_limit: float = Field(ge=1)

    def limit_bps(self, period: str) -> float:
        """Return the limit in basis points for a return of this period."""
        return self.return_bps if period in self.short_periods else self.longer_return_bps


class SustainedLoad(Part):
    """What "sustained" means: a load that is reached for so many of the last so many minutes."""

    minutes: int = Field(ge=1)
    of_minutes: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.minutes > self.of_minutes:
            raise ValueError("minutes can't be more than of_minutes")
        return self

    @property
    def least(self) -> timedelta:
        """For how long a load must have been reached."""
        return timedelta(minutes=self.minutes)

    @property
    def window(self) -> timedelta:
        """How far back one looks."""
        return timedelta(minutes=self.of_minutes)


class Rulings(runbook.Rulings):
    """What this pipeline decides beyond what the platform needs."""

    model_config = ConfigDict(extra="forbid")

    tolerances: Tolerances
    materiality: Materiality
    premake_months: int = Field(ge=1)
    sustained_load: SustainedLoad
    variance_history_days: int = Field(ge=1)
    annualisation_basis: Literal["calendar", "365"]
    terminal_status: str

    def in_words(self) -> list[tuple[str, str]]:
        """Return the rulings on tolerances, materiality and returns, then the platform's."""
        tolerances, materiality = self.tolerances, self.materiality
        return [
            ("tolerance of a daily return", f"{tolerances.daily_bps:g} bps, the limit included"),
            (
                "tolerance of any longer return",
                f"{tolerances.longer_bps:g} bps, the limit included",
            ),
            *(
                (
                    "tolerance of "
                    + ", ".join(filter(None, (one.vendor, one.account_class, one.period))),
                    f"{one.tolerance_bps:g} bps",
                )
                for one in tolerances.overrides
            ),
            (
                f"material change of a return ({', '.join(materiality.short_periods)})",
                f"{materiality.return_bps:g} bps or more",
            ),
            (
                "material change of any longer return",
                f"{materiality.longer_return_bps:g} bps or more",
            ),
            ("material change of a value", f"{materiality.account_value_pct:g} % or more"),
            ("told of a material change that was served", ", ".join(materiality.notify)),
            (
                "reports are issued again",
                f"from {materiality.reissue_times_limit:g} times the limit on",
            ),
            ("years of an annualised return", f"{self.annualisation_basis}"),
            (
                "a load is sustained",
                f"{self.sustained_load.minutes} of {self.sustained_load.of_minutes} minutes",
            ),
            ("partitions made ahead", f"{self.premake_months} months"),
            *super().in_words(),
        ]


class Runbook(runbook.Runbook):
    """The runbook of advisory_performance."""

    rulings: Rulings
