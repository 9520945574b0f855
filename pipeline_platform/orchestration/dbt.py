"""dbt's models as assets and dbt's tests as asset checks, run inside this process.

dbt is called through its own runner: starting it as a command costs seconds per run, and so does
importing the integration library in every run's process. Names of tests are dbt's own.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import (
    AuditFailedError,
    BadInputError,
    InvalidSettingError,
    NotFoundError,
)
from pipeline_platform.lake.dbt_runs import (
    DbtRun,
    forget_dbt_run,
    publish_staged_models,
    start_dbt_run,
)
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.staging import row_group_rows
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.lake.trial_lake import TrialLake
from pipeline_platform.orchestration.model_queries import log_models
from pipeline_platform.orchestration.parsed_project import hold_parsed_project, parsed_project
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

PROJECT = Path(__file__).parents[2] / "dbt_project"
OPERATIONS = PROJECT / "macros" / "operations.sql"
_MACRO = re.compile(r"^{% macro (?!platform_operation)(\w+)", re.MULTILINE)
_SOURCE = re.compile(r"source\(\s*'([^']+)'\s*,\s*'([^']+)'\s*\)")
_REF = re.compile(r"ref\(\s*'([^']+)'\s*\)")


@dataclass(frozen=True)
class ModelTest:
    """One dbt test: its name in dbt, the model whose asset carries the check, all its models."""

    name: str
    model: str
    description: str
    models: frozenset[str]


@dataclass(frozen=True)
class TestOutcome:
    """How one dbt test ended."""

    name: str
    passed: bool
    failing_rows: int
    message: str


def model_sources(pipeline: str, model: str) -> list[dg.AssetKey]:
    """Return the assets that a model reads, from its own SQL."""
    path = PROJECT / "models" / "gold" / pipeline / f"{model}.sql"
    sql = path.read_text("utf-8")
    sources = [
        dg.AssetKey([pipeline, schema.removeprefix(f"{pipeline}_"), table])
        for schema, table in _SOURCE.findall(sql)
    ]
    models = [dg.AssetKey([pipeline, "gold", name]) for name in _REF.findall(sql)]
    return list(dict.fromkeys([*sources, *models]))


def model_tests(pipeline: str, models: Sequence[LakeTable]) -> list[ModelTest]:
    """Return every dbt test of these models: of their columns, and singular ones.

    A singular test belongs to the first model that it refers to. Only column tests without
    arguments are understood; any other raises InvalidSettingError, so that none is overlooked.
    """
    names = {model.name for model in models}
    tests = []
    folder = PROJECT / "models" / "gold" / pipeline
    for path in sorted(folder.glob("*.yml")):
        for model in yaml.safe_load(path.read_text("utf-8")).get("models", []):
            tests += list(_column_tests(path, model))
    for path in sorted((PROJECT / "tests" / pipeline).glob("*.sql")):
        sql = path.read_text("utf-8")
        description = sql.partition("\n")[0].removeprefix("-- ")
        models_of_test = _REF.findall(sql)
        tests.append(
            ModelTest(path.stem, models_of_test[0], description, frozenset(models_of_test))
        )
    return [test for test in tests if test.model in names]


def _column_tests(path: Path, model: Mapping[str, Any]) -> Iterator[ModelTest]:
    for column in model.get("columns", []):
        for test in column.get("data_tests", []):
            if not isinstance(test, str):
                raise InvalidSettingError(
                    f"{path}: the test of {model['name']}.{column['name']} has arguments; write "
                    "it as a singular test in dbt_project/tests."
                )
            name = f"{test}_{model['name']}_{column['name']}"
            description = f"{column['name']} is {test.replace('_', ' ')}."
            yield ModelTest(name, model["name"], description, frozenset({model["name"]}))


def test_specs(pipeline: str, tests: Sequence[ModelTest]) -> list[dg.AssetCheckSpec]:
    """Declare one blocking check per dbt test."""
    return [
        dg.AssetCheckSpec(
            test.name,
            asset=dg.AssetKey([pipeline, "gold", test.model]),
            description=test.description,
        )
        for test in tests
    ]


@dataclass(frozen=True)
class ModelBuild:
    """A finished `dbt build`: what it staged, how its tests ended, each model's DuckDB query.

    `answers` are the requests, by partition, that its sources had answered when it pinned them.
    """

    run: DbtRun
    tests: Sequence[TestOutcome]
    queries: Mapping[str, str]
    answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed_tests(self) -> list[TestOutcome]:
        """The tests that forbid publication."""
        return [outcome for outcome in self.tests if not outcome.passed]


def merged_outcomes(builds: Sequence[ModelBuild]) -> list[TestOutcome]:
    """Return how each test ended in the builds of all pieces of a range, as one outcome.

    A test passed if it did in every piece; its message names the pieces in which it did not.
    """
    found: dict[str, dict[str, TestOutcome]] = {}
    for build in builds:
        for outcome in build.tests:
            found.setdefault(outcome.name, {})[build.run.partition] = outcome
    return [_merged(outcomes) for outcomes in found.values()]


def _merged(outcomes: Mapping[str, TestOutcome]) -> TestOutcome:
    first = next(iter(outcomes.values()))
    failed = {span: outcome for span, outcome in outcomes.items() if not outcome.passed}
    return TestOutcome(
        name=first.name,
        passed=not failed,
        failing_rows=sum(outcome.failing_rows for outcome in failed.values()),
        message="; ".join(f"{span}: {outcome.message}" for span, outcome in failed.items())
        or first.message,
    )


def models_with_parents(pipeline: str, models: Collection[str]) -> list[str]:
    """Return models with all models of the pipeline that they are made from, parents first."""
    found: list[str] = []
    for model in models:
        path = PROJECT / "models" / "gold" / pipeline / f"{model}.sql"
        parents = models_with_parents(pipeline, _REF.findall(path.read_text("utf-8")))
        found += [one for one in (*parents, model) if one not in found]
    return found


def build_models(
    services: Services,
    *,
    pipeline: str,
    models: Sequence[str],
    sources: Sequence[tuple[LakeTable, tuple[date, date]]],
    variables: Mapping[str, Any],
    run_id: str,
    partition: str,
) -> ModelBuild:
    """Run `dbt build` on pinned snapshots; models are staged, nothing is published.

    Tests run whose models are all among `models`. The settings choose the engine. Raises
    AuditFailedError when a model can't be built, UnavailableError when the engine is gone;
    failed tests are outcomes.
    """
    run = start_dbt_run(services.lake, run_id=run_id, partition=partition, sources=sources)
    engine = services.settings.engine
    select = [f"gold.{pipeline}.{model}" for model in models]
    with run.active():
        nodes = _invoke(services, engine, "build", select, variables)
        log_models(services, pipeline, run, [one for one in nodes if _is_model(one)])
        # A model is skipped after a failed test of one that it is made from: the test says why.
        broken = [one for one in nodes if _is_model(one) and one.status == "error"]
        if broken:
            raise AuditFailedError(
                f"dbt could not build the model {broken[0].node.name}: {broken[0].message}"
            )
        tests = [
            TestOutcome(one.node.name, one.status == "pass", one.failures or 0, one.message or "")
            for one in nodes
            if one.node.resource_type == "test"
        ]
        if engine != "duckdb":
            nodes = _invoke(services, "duckdb", "compile", select, variables)
    queries = {
        one.node.name: one.node.compiled_code
        for one in nodes
        if _is_model(one) and one.status == "success"
    }
    return ModelBuild(run, tests, queries)


def _is_model(result: Any) -> bool:
    return bool(result.node.resource_type == "model")


def compiled_tests(
    services: Services,
    *,
    pipeline: str,
    models: Sequence[str],
    sources: Sequence[tuple[LakeTable, tuple[date, date]]],
    variables: Mapping[str, Any],
    run_id: str,
) -> dict[str, tuple[frozenset[str], str]]:
    """Return the tests of models as DuckDB queries whose rows are faults, with the models named.

    The queries read models in the schema `main`, sources in that of their table. Tests are those
    whose models are all among `models`. Raises AuditFailedError when one can't be compiled.
    """
    select = [f"gold.{pipeline}.{model}" for model in models]
    run = start_dbt_run(
        TrialLake(services.lake), run_id=run_id, partition="compiled", sources=sources
    )
    try:
        with run.active():
            nodes = _invoke(services, "duckdb", "compile", select, variables)
    finally:
        forget_dbt_run(run)
    return {
        one.node.name: (
            frozenset(
                name.rpartition(".")[2]
                for name in one.node.depends_on.nodes
                if name.startswith("model.")
            ),
            one.node.compiled_code,
        )
        for one in nodes
        if one.node.resource_type == "test"
    }


def run_operation(settings: Settings, name: str, arguments: str) -> bool:
    """Run an operation of the project with arguments in YAML; tell whether it found no fault.

    dbt prints what the macro answers. It finds the platform by the environment, as `settings` do.
    Raises NotFoundError for a name that is no operation, BadInputError for other arguments.
    """
    known = sorted(_MACRO.findall(OPERATIONS.read_text("utf-8")))
    if name not in known:
        raise NotFoundError(f"There is no operation {name!r}; choose from {', '.join(known)}.")
    try:
        given = yaml.safe_load(arguments)
    except yaml.YAMLError:
        given = None
    if not isinstance(given, dict):
        raise BadInputError(
            f"The arguments {arguments!r} are no mapping in YAML; write them as "
            "\"{'table_name': 'web_events'}\"."
        )
    command = ["run-operation", name, "--args", arguments]
    return bool(_run_dbt(settings, "duckdb", command).success)


def _run_dbt(settings: Settings, engine: str, command: Sequence[str]) -> Any:
    """Run dbt in this process, quietly, over the project as it is kept parsed."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 -- slow import, only where dbt runs

    target, folders = _folders(settings, engine)
    quiet = ["--quiet", "--no-write-json", "--log-level-file", "none"]
    manifest = parsed_project(PROJECT, target, folders)
    return dbtRunner(manifest=manifest).invoke([*quiet, *command, *folders])


def _folders(settings: Settings, engine: str) -> tuple[Path, list[str]]:
    """Return dbt's target folder, and the options that name it, the project and the engine."""
    target = settings.home / "dbt" / engine
    project = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    return target, [*project, "--target-path", str(target), "--target", engine]


def rehearse_build(settings: Settings) -> None:
    """Do beforehand what every build does before its first model; nothing is built or opened.

    For a process from which runs are forked: dbt's start in them is then a fraction. Raises
    AuditFailedError when the project can't be parsed.
    """
    _run_dbt(settings, settings.engine, ["list", "--select", "none"])
    hold_parsed_project(PROJECT, *_folders(settings, settings.engine))


def _invoke(
    services: Services,
    engine: str,
    command: str,
    select: Sequence[str],
    variables: Mapping[str, Any],
) -> list[Any]:
    """Run a command of dbt over some models and return what became of each node."""
    chosen = ["--select", *select, "--indirect-selection", "buildable"]
    rows = row_group_rows(services.settings.memory_bytes)
    given = ["--vars", yaml.safe_dump({"row_group_rows": rows, **variables})]
    # What it compiles dbt prints, even when quiet.
    silence = ["--log-level", "none"] if command == "compile" else []
    result = _run_dbt(services.settings, engine, [*silence, command, *chosen, *given])
    if result.exception is not None:
        raise AuditFailedError(f"dbt could not {command} {', '.join(select)}: {result.exception}")
    return list(result.result)


def test_results(
    pipeline: str, tests: Sequence[ModelTest], outcomes: Sequence[TestOutcome]
) -> Iterator[dg.AssetCheckResult]:
    """Report every declared test; one that dbt did not run is a failed check."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    for test in tests:
        outcome = by_name.get(test.name)
        yield dg.AssetCheckResult(
            asset_key=dg.AssetKey([pipeline, "gold", test.model]),
            check_name=test.name,
            passed=outcome is not None and outcome.passed,
            metadata={
                "failing_rows": outcome.failing_rows if outcome else 0,
                "message": outcome.message if outcome else "dbt did not run this test.",
            },
        )


def publish_models(
    services: Services, tables: Sequence[tuple[LakeTable, str]], build: ModelBuild
) -> dict[str, Publication]:
    """Publish the staged models, all of them or none; AuditFailedError if a test failed.

    Each table comes with the filter of the rows that are replaced.
    """
    failed = build.failed_tests
    if failed:
        raise AuditFailedError(
            f"The dbt test {failed[0].name} failed for {failed[0].failing_rows} rows "
            f"({failed[0].message}); no model of {build.run.partition} was published."
        )
    published = publish_staged_models(
        services.lake,
        build.run,
        tables,
        properties={"code_version": code_version(), "engine": services.settings.engine},
    )
    return {table.name: published[".".join(table.identifier)] for table, _ in tables}
