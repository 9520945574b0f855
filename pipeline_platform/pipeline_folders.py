"""Where the pipelines are: each package of the platform that has a `runbook.yaml` is one."""

from pathlib import Path

import pipeline_platform

RUNBOOK = "runbook.yaml"


def pipeline_folders() -> dict[str, Path]:
    """Return the folder of every pipeline by its name, sorted.

    All folders that Python takes the package from are looked through, so a pipeline may be
    installed from elsewhere.
    """
    found = (
        path.parent
        for root in pipeline_platform.__path__
        for path in Path(root).glob(f"*/{RUNBOOK}")
    )
    return {folder.name: folder for folder in sorted(found, key=lambda folder: folder.name)}


def contract_files() -> list[Path]:
    """Return the contracts of all pipelines' tables, by pipeline and table."""
    return [
        path
        for folder in pipeline_folders().values()
        for path in sorted(folder.glob("contracts/*.yaml"))
    ]
