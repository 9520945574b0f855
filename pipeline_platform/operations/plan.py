"""The model of `operations.yaml`: what the platform does for all pipelines together, and when."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field

from pipeline_platform.quality.strict_yaml import read_model
from pipeline_platform.quality.thresholds import Part
from pipeline_platform.runbook import Alerting, Freshness, Runbook, Schedule, Sensor

FILE = Path(__file__).with_name("operations.yaml")
PACKAGE = FILE.parents[1]


class CostPlan(Part):
    """How many days a reading of cost takes, when a day is final, and what it is compared with."""

    read_days: int = Field(ge=30, le=365)
    settled_after_days: int = Field(ge=1)
    history_days: int = Field(ge=14)


class BackupPlan(Part):
    """How long backups, and those of the lake alone, are kept, and how many always (SA-91)."""

    kept_days: int = Field(ge=1)
    lake_kept_days: int = Field(ge=1)
    kept_count: int = Field(ge=1)


class OperationsPlan(Alerting):
    """Everything of `operations.yaml`; `pipeline` is the first part of its asset keys."""

    cost: CostPlan
    backups: BackupPlan
    freshness: dict[str, Freshness]
    schedules: dict[str, Schedule]
    sensors: dict[str, Sensor]

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
    found = [Runbook.load(path) for path in sorted(PACKAGE.glob("*/runbook.yaml"))]
    return {runbook.pipeline: runbook for runbook in found}


def alertings() -> Mapping[str, Alerting]:
    """Return who is told of what, of every pipeline and of the platform itself, by name."""
    plan = operations_plan()
    return {**runbooks(), plan.pipeline: plan}
