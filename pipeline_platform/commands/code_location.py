"""The platform's definitions and Dagster's instance, opened for one command."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from pipeline_platform.commands.arguments import one_of
from pipeline_platform.commands.output import plain_failures, services
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.history import History, pipelines
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.services import Services


@dataclass(frozen=True)
class CodeLocation:
    """The platform's definitions, their graph, and the instance that remembers runs."""

    services: Services
    definitions: dg.Definitions
    graph: AssetGraph
    instance: dg.DagsterInstance

    @property
    def history(self) -> History:
        """What the instance remembers."""
        return History(self.graph, self.instance)

    @property
    def recorder(self) -> RunRecorder:
        """What keeps ended runs in the control tables."""
        jobs = list(self.definitions.resolve_all_job_defs())
        return RunRecorder(self.graph, jobs, self.instance)

    def pipeline(self, name: str) -> str:
        """Return the pipeline of that name, or the only one that begins so."""
        return one_of(name, pipelines(self.graph))


@contextmanager
def code_location() -> Iterator[CodeLocation]:
    """Open the code location; a failure of the platform is one sentence and an exit code."""
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    with plain_failures(), services() as opened:
        definitions = build_defs(opened.settings, {"services": opened})
        instance = open_instance(opened.settings)
        yield CodeLocation(opened, definitions, definitions.resolve_asset_graph(), instance)
