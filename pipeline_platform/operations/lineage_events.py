"""Runs, commits and loads as events of OpenLineage (XC-9, SP-31).

Pure. An event is what https://openlineage.io/spec/2-0-2/OpenLineage.json calls a RunEvent. A run of
Dagster is a run of its job; each commit to a table and each load of a served one is a run of its
own, of the asset that made it, with the run of Dagster as its parent. What is told twice has the
same ids and times both times, so whoever collects it sees it once.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pipeline_platform.code_version import code_version

Event: TypeAlias = dict[str, Any]
Facet: TypeAlias = dict[str, Any]
EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FACETS = "https://openlineage.io/spec/facets/"
ENDS: Mapping[str, EventType] = {
    "SUCCESS": "COMPLETE",
    "FAILURE": "FAIL",
    "CANCELED": "ABORT",
    "STOPPED": "ABORT",
}
"""How a run ends that ended so, by its status in `pipeline_runs`."""
_IDS = uuid.UUID("6f1f2c3a-6a54-5d0e-9c53-4a7a5c0e2a10")


@dataclass(frozen=True)
class Run:
    """A run of Dagster that ended; `errors` are sentences."""

    run_id: str
    job: str
    status: str
    started_at: datetime
    ended_at: datetime
    errors: Sequence[str] = ()


@dataclass(frozen=True)
class Dataset:
    """A table, or a folder of files; `version` is the snapshot that was read or made.

    `columns` are names and types; `files` the SHA-256 of each file that was read.
    """

    namespace: str
    name: str
    version: str | None = None
    columns: Sequence[tuple[str, str]] = ()
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Work:
    """One commit or load: what `asset` made at an instant, from what, and in which run.

    `parent` is the run of Dagster and its job; None for a command. `mark` tells this work from all
    other of the asset.
    """

    asset: str
    mark: str
    at: datetime
    output: Dataset
    inputs: Sequence[Dataset]
    row_count: int | None = None
    parent: tuple[str, str] | None = None
    properties: Mapping[str, object] = field(default_factory=dict)


def run_events(namespace: str, run: Run) -> list[Event]:
    """Return the beginning and the end of a run of Dagster."""
    job = _job(namespace, run.job, "JOB")
    run_id = _as_uuid(run.run_id)
    failed = {}
    if run.errors:
        error = {"message": "\n".join(run.errors), "programmingLanguage": "PYTHON"}
        failed = {"errorMessage": _facet("1-0-1", "ErrorMessageRunFacet", error)}
    return [
        _event("START", run.started_at, run_id, {}, job),
        _event(ENDS.get(run.status, "ABORT"), run.ended_at, run_id, failed, job),
    ]


def work_events(namespace: str, work: Work) -> list[Event]:
    """Return the beginning and the end of a commit or load: both at its instant."""
    facets: dict[str, Facet] = {}
    if work.parent is not None:
        run_id, name = work.parent
        parent = {
            "run": {"runId": _as_uuid(run_id)},
            "job": {"namespace": namespace, "name": name},
        }
        facets["parent"] = _facet("1-2-0", "ParentRunFacet", parent)
    if work.properties:
        facets["pipelinePlatform_publication"] = _own("RunFacet", dict(work.properties))
    job = _job(namespace, work.asset, "ASSET")
    run_id = str(uuid.uuid5(_IDS, f"{work.output.namespace} {work.asset} {work.mark}"))
    ended = _event("COMPLETE", work.at, run_id, facets, job)
    ended["inputs"] = [_input(one) for one in work.inputs]
    ended["outputs"] = [_output(work.output, work.row_count)]
    return [_event("START", work.at, run_id, facets, job), ended]


def _event(
    kind: EventType, at: datetime, run_id: str, facets: dict[str, Facet], job: dict[str, Any]
) -> Event:
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "run": {"runId": run_id, "facets": facets},
        "job": job,
        "inputs": [],
        "outputs": [],
        "producer": _producer(),
        "schemaURL": f"{SPEC}RunEvent",
    }


def _job(namespace: str, name: str, kind: str) -> dict[str, Any]:
    is_of = {"processingType": "BATCH", "integration": "DAGSTER", "jobType": kind}
    facets = {"jobType": _facet("2-0-4", "JobTypeJobFacet", is_of)}
    return {"namespace": namespace, "name": name, "facets": facets}


def _input(dataset: Dataset) -> dict[str, Any]:
    read = {"sha256": list(dataset.files)}
    own = {"pipelinePlatform_files": _own("InputDatasetFacet", read)} if dataset.files else {}
    return {**_dataset(dataset), "inputFacets": own}


def _output(dataset: Dataset, row_count: int | None) -> dict[str, Any]:
    counted = {}
    if row_count is not None:
        rows = {"rowCount": row_count}
        name = "OutputStatisticsOutputDatasetFacet"
        counted = {"outputStatistics": _facet("1-0-2", name, rows)}
    return {**_dataset(dataset), "outputFacets": counted}


def _dataset(dataset: Dataset) -> dict[str, Any]:
    facets: dict[str, Facet] = {}
    if dataset.version is not None:
        version = {"datasetVersion": dataset.version}
        facets["version"] = _facet("1-0-1", "DatasetVersionDatasetFacet", version)
    if dataset.columns:
        fields = [{"name": name, "type": kind} for name, kind in dataset.columns]
        facets["schema"] = _facet("1-2-0", "SchemaDatasetFacet", {"fields": fields})
    return {"namespace": dataset.namespace, "name": dataset.name, "facets": facets}


def _facet(version: str, name: str, content: Mapping[str, object]) -> Facet:
    """Return a facet of OpenLineage itself."""
    schema = f"{FACETS}{version}/{name}.json#/$defs/{name}"
    return {"_producer": _producer(), "_schemaURL": schema, **content}


def _own(kind: str, content: Mapping[str, object]) -> Facet:
    """Return a facet of ours, which OpenLineage takes as any other one."""
    return {"_producer": _producer(), "_schemaURL": f"{SPEC}{kind}", **content}


def _producer() -> str:
    return f"urn:pipeline-platform:{code_version()}"


def _as_uuid(run_id: str) -> str:
    """Return the id of a run as OpenLineage wants it; Dagster's are so already."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(_IDS, run_id))
