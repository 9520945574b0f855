"""dbt's project is parsed once per version, and months rendered by each run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner

from pipeline_platform.failures import AuditFailedError
from pipeline_platform.orchestration.parsed_project import (
    hold_parsed_project,
    parsed_project,
    project_version,
)

PROFILE = "sample: {target: one, outputs: {one: {type: duckdb, path: ':memory:', threads: 1}}}"
PROJECT = "{name: sample, version: '1.0', profile: sample, vars: {first_month: none}}"
MODEL = "select '{{ var(\"first_month\") }}' as first_month"


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make small dbt projects of one model."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("project")
        (folder / "models").mkdir()
        (folder / "models" / "months.sql").write_text(MODEL)
        (folder / "dbt_project.yml").write_text(PROJECT)
        (folder / "profiles.yml").write_text(PROFILE)
        return folder

    return make


@pytest.fixture(scope="module")
def project(new_project: Callable[[], Path]) -> Path:
    """One project that no test changes, already parsed."""
    folder = new_project()
    parse(folder)
    return folder


def options(project: Path) -> list[str]:
    places = {"project-dir": project, "profiles-dir": project, "target-path": project / "target"}
    return [text for name, path in places.items() for text in (f"--{name}", str(path))]


def parse(project: Path) -> object:
    return parsed_project(project, project.parent / f"{project.name}-kept", options(project))


def kept_files(project: Path) -> dict[str, int]:
    folder = project.parent / f"{project.name}-kept"
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_run_renders_its_own_months_from_the_kept_project(project: Path) -> None:
    arguments = ["--quiet", "build", *options(project), "--vars", "{first_month: 2026-10-01}"]

    built = dbtRunner(manifest=parse(project)).invoke(arguments)

    assert "2026-10-01" in built.result.results[0].node.compiled_code


def test_a_project_that_did_not_change_is_not_parsed_again(project: Path) -> None:
    before = kept_files(project)

    parse(project)

    assert kept_files(project) == before


def test_each_run_gets_an_object_of_its_own(project: Path) -> None:
    assert parse(project) is not parse(project)


def test_what_was_kept_of_an_older_version_goes(new_project: Callable[[], Path]) -> None:
    project = new_project()
    parse(project)
    (project / "models" / "months.sql").write_text("select 1 as one")

    parse(project)

    assert list(kept_files(project)) == [f"manifest-{project_version(project)}.msgpack"]


def test_a_project_that_dbt_refuses_is_not_kept(new_project: Callable[[], Path]) -> None:
    project = new_project()
    (project / "models" / "months.sql").write_text("select * from {{ ref('absent') }}")

    with pytest.raises(AuditFailedError, match="absent"):
        parse(project)


@pytest.mark.parametrize("name", ["months.sql", "new.sql", "schema.yml"])
def test_the_version_changes_with_every_file_that_dbt_reads(
    new_project: Callable[[], Path], name: str
) -> None:
    project = new_project()
    before = project_version(project)

    (project / "models" / name).write_text("changed")

    assert project_version(project) != before


def test_a_held_project_is_handed_out_once(project: Path) -> None:
    hold_parsed_project(project, project.parent / f"{project.name}-kept", options(project))
    first, second = parse(project), parse(project)
    assert first is not second
    assert set(first.nodes) == set(second.nodes) == {"model.sample.months"}


def test_a_project_that_changed_is_not_the_held_one(new_project: Callable[[], Path]) -> None:
    folder = new_project()
    hold_parsed_project(folder, folder.parent / f"{folder.name}-kept", options(folder))
    (folder / "models" / "other.sql").write_text(MODEL)
    assert "model.sample.other" in parse(folder).nodes
