"""What the endpoints work with, opened once by whoever starts the service."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_platform.failures import NotFoundError
from pipeline_platform.orchestration.history import History, pipelines
from pipeline_platform.orchestration.launching import Workflows
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services


@dataclass(frozen=True)
class Platform:
    """Services, what Dagster remembers and can start, and every pipeline's runbook."""

    services: Services
    history: History
    workflows: Workflows
    recorder: RunRecorder
    runbooks: Mapping[str, Runbook]

    @property
    def pipelines(self) -> list[str]:
        """The names of all pipelines, the platform's own operations among them."""
        return pipelines(self.history.graph)

    def require_pipeline(self, name: str) -> str:
        """Return the name if a pipeline has it; else raise NotFoundError."""
        if name not in self.pipelines:
            raise NotFoundError(
                f"There is no pipeline {name!r}; choose from {', '.join(self.pipelines)}."
            )
        return name
