"""dbt's project, parsed once for each version of its files and of dbt, kept in the home folder.

dbt parses everything anew as soon as a variable has another value, and here the months of a run
are variables: that was most of dbt's start. Variables are therefore used only in the SQL of models
and tests, which dbt renders when it runs them, never in their configuration.
"""

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline_platform.failures import AuditFailedError

_READ_BY_DBT = {".sql", ".yml", ".yaml", ".csv", ".md", ".py"}
_WRITTEN_BY_DBT = {"target", "logs"}
_DISTRIBUTIONS = ("dbt-core", "dbt-adapters", "dbt-duckdb", "dbt-spark")
_held: dict[Path, Any] = {}


def parsed_project(project: Path, folder: Path, options: Sequence[str]) -> Any:
    """Return dbt's manifest of a project, read from `folder` or parsed and kept there.

    `options` are those of the invocation: project, profiles and target folders. Each call returns
    an object of its own, because a run marks what it has compiled in it. Two processes may do
    this at once. Raises AuditFailedError when the project can't be parsed.
    """
    kept = _kept_path(project, folder)
    return _held.pop(kept) if kept in _held else _read(kept, options)


def hold_parsed_project(project: Path, folder: Path, options: Sequence[str]) -> None:
    """Read the manifest beforehand: the next call of `parsed_project` gets it.

    For a process from which others are forked: each of them gets it once.
    """
    kept = _kept_path(project, folder)
    _held[kept] = _read(kept, options)


def _kept_path(project: Path, folder: Path) -> Path:
    return folder / f"manifest-{project_version(project)}.msgpack"


def _read(kept: Path, options: Sequence[str]) -> Any:
    from dbt.contracts.graph.manifest import Manifest  # noqa: PLC0415 -- slow import
    from dbt.parser import manifest as parser  # noqa: PLC0415 -- slow import

    if not kept.exists():
        _keep(kept, _parse(options).to_msgpack(parser.extended_mashumaro_encoder))
    found: Any = Manifest.from_msgpack(kept.read_bytes(), decoder=parser.extended_mashumuro_decoder)
    found.build_flat_graph()
    return found


def project_version(project: Path) -> str:
    """Return a hash of all files that dbt reads of a project, and of dbt's versions."""
    digest = hashlib.sha256()
    for distribution in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):  # dbt-spark is optional
            digest.update(f"{distribution}=={version(distribution)}\n".encode())
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project)
        if path.suffix in _READ_BY_DBT and name.parts[0] not in _WRITTEN_BY_DBT:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:16]


def _parse(options: Sequence[str]) -> Any:
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 -- slow import

    quiet = ["--quiet", "--no-write-json", "--log-level-file", "none", "--no-partial-parse"]
    parsed = dbtRunner().invoke([*quiet, "parse", *options])
    if not parsed.success:
        raise AuditFailedError(f"dbt could not parse its project: {parsed.exception}")
    return parsed.result


def _keep(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; what older versions left goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{uuid.uuid4().hex}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for other in path.parent.glob("manifest-*.msgpack"):
        if other != path:
            other.unlink(missing_ok=True)
