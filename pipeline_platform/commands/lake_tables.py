"""Which tables of the lake there are, by the names that an operator uses."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from pipeline_platform.commands.arguments import pipeline_names
from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.pipeline_folders import RUNBOOK, pipeline_folders
from pipeline_platform.runbook import Runbook


def tables_of(pipeline: str) -> Sequence[LakeTable]:
    """Return the tables that a pipeline declares in its `tables.py` and `marts.py`."""
    folder = f"pipeline_platform.{pipeline}"
    tables = [*import_module(f"{folder}.tables").TABLES]
    if find_spec(f"{folder}.marts") is not None:
        tables += import_module(f"{folder}.marts").MARTS.tables
    return list({table.asset_key: table for table in tables}.values())


def all_tables() -> list[LakeTable]:
    """Return the lake tables of every pipeline."""
    return [table for name in pipeline_names() for table in tables_of(name)]


def table_named(name: str) -> LakeTable:
    """Return the table of that noun, or of `layer/noun` or `pipeline/layer/noun`.

    Raises NotFoundError for a name that no table or more than one has.
    """
    known = {"/".join(one.asset_key): one for one in all_tables()}
    found = [key for key in known if f"/{key}".endswith(f"/{name}")]
    if len(found) != 1 or not name:
        raise NotFoundError(
            f"{name!r} is not one table; choose from {', '.join(sorted(found or known))}."
        )
    return known[found[0]]


def runbook_of(pipeline: str) -> Runbook:
    """Return a pipeline's runbook."""
    return Runbook.load(pipeline_folders()[pipeline] / RUNBOOK)
