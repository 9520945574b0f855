"""The model of `operations.yaml`: what the platform does for all pipelines together, and when."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self, get_args

from pydantic import Field, model_validator

from pipeline_platform.operations.security import ASPECTS, Aspect
from pipeline_platform.pipeline_folders import RUNBOOK, pipeline_folders
from pipeline_platform.quality.strict_yaml import read_model
from pipeline_platform.quality.thresholds import Part
from pipeline_platform.runbook import Alerting, Freshness, ReportName, Runbook, Schedule, Sensor
from pipeline_platform.warehouse.retention import TABLES as FORGETFUL_TABLES

FILE = Path(__file__).with_name("operations.yaml")


class CostPlan(Part):
    """How many days a reading of cost takes, when a day is final, and what it is compared with."""

    read_days: int = Field(ge=30, le=365)
    settled_after_days: int = Field(ge=1)
    history_days: int = Field(ge=14)


class Kept(Part):
    """How many days something is kept, and the rows that say so."""

    kept_days: int = Field(ge=1)
    requirements: list[str] = Field(min_length=1)


class RetentionPlan(Part):
    """What all pipelines share and how long it is kept; a pass forgets at most so much (XC-8)."""

    runs_per_pass: int = Field(ge=1)
    rows_per_pass: int = Field(ge=1)
    files_per_pass: int = Field(ge=1)
    dagster_runs: Kept
    log_files: Kept
    report_pages: dict[ReportName, Kept]
    tables: dict[str, Kept]

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        differing = self.tables.keys() ^ FORGETFUL_TABLES.keys()
        if differing:
            raise ValueError(
                f"retention.tables must name each table that forgets; {min(differing)} is not "
                "both here and in warehouse/retention.py"
            )
        missing = set(get_args(ReportName)) - self.report_pages.keys()
        if missing:
            raise ValueError(f"retention.report_pages lacks {min(missing)}")
        return self


class SecurityPlan(Part):
    """How old a secret may be, how late an audit trail, and the tags that a bucket must have.

    `routes` says who is told of what fails, by aspect of the review.
    """

    rotated_days: int = Field(ge=1)
    delivered_hours: int = Field(ge=1)
    tags: list[str]
    routes: dict[Aspect, str]


class BackupPlan(Part):
    """How long backups, and those of the lake alone, are kept, and how many always (SA-91)."""

    kept_days: int = Field(ge=1)
    lake_kept_days: int = Field(ge=1)
    kept_count: int = Field(ge=1)


class OperationsPlan(Alerting):
    """Everything of `operations.yaml`; `pipeline` is the first part of its asset keys."""

    cost: CostPlan
    retention: RetentionPlan
    security: SecurityPlan
    backups: BackupPlan
    freshness: dict[str, Freshness]
    schedules: dict[str, Schedule]
    sensors: dict[str, Sensor]

    @model_validator(mode="after")
    def _every_aspect_of_security_is_told(self) -> Self:
        for aspect in ASPECTS:
            if self.security.routes.get(aspect) not in self.routes:
                raise ValueError(f"security.routes needs a known route for {aspect}")
        return self

    @classmethod
    def load(cls, path: Path) -> "OperationsPlan":
        """Read a plan; raise InvalidRunbookError that names the file and the field."""
        return read_model(path, cls, "plan")


@cache
def operations_plan() -> OperationsPlan:
    """Read the platform's own plan once per process."""
    return OperationsPlan.load(FILE)


@cache
def runbooks() -> Mapping[str, Runbook]:
    """Read the runbook of every pipeline once per process, by its name."""
    found = [Runbook.load(folder / RUNBOOK) for folder in pipeline_folders().values()]
    return {runbook.pipeline: runbook for runbook in found}


def alertings() -> Mapping[str, Alerting]:
    """Return who is told of what, of every pipeline and of the platform itself, by name."""
    plan = operations_plan()
    return {**runbooks(), plan.pipeline: plan}
