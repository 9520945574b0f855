"""On either engine dbt reads pinned snapshots, and what it builds is published on success only."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from dbt.cli.main import dbtRunner

from pipeline_platform.failures import AuditFailedError, InvalidSettingError, NotFoundError
from pipeline_platform.lake.dbt_runs import publish_staged_models, start_dbt_run
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable

OCTOBER = date(2026, 10, 1)
PARSED = "partial_parse.msgpack"
BY_MONTH = ", options={'partition_by': 'as_of_month', 'write_partition_columns': 'true'}"
PLATFORM_PROJECT = Path(__file__).parents[3] / "dbt_project"
PROJECT = """
name: sample
version: "1.0"
profile: pipeline_platform
flags: {send_anonymous_usage_stats: false}
"""
SCHEMA = """
sources:
  - name: NAMESPACE
    tables:
      - name: balances
        config: {meta: {plugin: lake, table: SOURCE}}
models:
  - name: totals
    columns:
      - name: total
        data_tests: [not_null]
"""
TOTALS = """
{{ config(materialized='external', plugin='lake', meta={'table': 'TARGET'}OPTIONS) }}
SELECT as_of_month, CAST(count(*) AS INTEGER) AS account_count,
CAST(sum(amount) AS DECIMAL(20,4)) AS total FROM {{ source('NAMESPACE', 'balances') }}
GROUP BY as_of_month
"""


@pytest.fixture(params=["duckdb", "spark"])
def engine(request):
    return request.param


@pytest.fixture
def settings(settings, engine):
    return settings.model_copy(update={"engine": engine})


@pytest.fixture
def totals(balances):
    return LakeTable(
        pipeline=balances.pipeline,
        layer="gold",
        name="totals",
        schema=pa.schema(
            [
                pa.field("as_of_month", pa.date32(), nullable=False),
                pa.field("account_count", pa.int32(), nullable=False),
                pa.field("total", pa.decimal128(20, 4), nullable=False),
            ]
        ),
        description="Sum by month.",
        partition_by="as_of_month",
    )


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """A folder for macros as dbt keeps them parsed, by engine: that takes most of a build."""
    return tmp_path_factory.mktemp("parsed")


@pytest.fixture
def project(tmp_path, balances, totals, engine, parsed):
    """Make a dbt project with one source and one model, and the platform's profile and macros.

    It begins with the macros as an earlier test's project left them parsed.
    """
    kept, target = parsed / engine, tmp_path / "project" / "target"
    if kept.exists():
        shutil.copytree(kept, target)

    def make(model=TOTALS, options=""):
        folder = tmp_path / "project"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        shutil.copy(PLATFORM_PROJECT / "profiles.yml", folder)
        shutil.copytree(PLATFORM_PROJECT / "macros", folder / "macros", dirs_exist_ok=True)
        (folder / "dbt_project.yml").write_text(PROJECT)
        names = {
            "NAMESPACE": balances.identifier[0],
            "SOURCE": ".".join(balances.identifier),
            "TARGET": ".".join(totals.identifier),
            "OPTIONS": options,
        }
        for name, content in {"schema.yml": SCHEMA, "totals.sql": model}.items():
            written = content
            for placeholder, value in names.items():
                written = written.replace(placeholder, value)
            (folder / "models" / name).write_text(written)
        return folder

    yield make
    if (target / PARSED).exists():
        kept.mkdir(exist_ok=True)
        shutil.copy(target / PARSED, kept)


@pytest.fixture
def start(lake, balances):
    def run(months=(OCTOBER, OCTOBER), run_id="dbt-1", partition="2026-10-01"):
        return start_dbt_run(lake, run_id=run_id, partition=partition, sources=[(balances, months)])

    return run


def arguments(folder, engine):
    folders = ["--project-dir", str(folder), "--profiles-dir", str(folder)]
    return ["--quiet", "build", *folders, "--target", engine]


def build(run, folder):
    with run.active():
        return dbtRunner().invoke(arguments(folder, run.settings.engine)).success


def finish(lake, run, totals, **more):
    return publish_staged_models(
        lake, run, [(totals, "as_of_month == '2026-10-01'")], properties={}, **more
    )


def test_a_model_is_published_after_its_build(lake, con, totals, publish, project, start):
    publish(count=3)
    run = start()
    assert build(run, project())
    finish(lake, run, totals)
    found = lake.relation(con, totals).project("account_count, total::VARCHAR").fetchall()
    assert found == [(3, "4.5000")]


def test_nothing_is_visible_before_it_is_published(lake, con, totals, publish, project, start):
    publish()
    build(start(), project())
    assert lake.relation(con, totals).fetchall() == []


def test_the_publication_names_the_snapshots_that_were_read(
    lake, balances, totals, publish, project, start
):
    read = publish()
    run = start()
    publish(run_id="later")
    build(run, project())
    finish(lake, run, totals)
    inputs = json.loads(lake.last_publication(totals).properties["inputs"])
    assert inputs == {".".join(balances.identifier): read.snapshot_id}


def test_a_run_reads_the_snapshot_that_it_pinned(lake, con, totals, publish, project, start):
    publish(count=3)
    run = start()
    publish(count=9, run_id="later")
    build(run, project())
    finish(lake, run, totals)
    assert lake.relation(con, totals).project("account_count").fetchall() == [(3,)]


def test_a_second_run_in_the_same_process_reads_its_own_snapshot(
    lake, con, totals, publish, project, start
):
    for number, count in enumerate((3, 9)):
        publish(count=count, run_id=f"source-{number}")
        run = start(run_id=f"dbt-{number}")
        build(run, project())
        finish(lake, run, totals)
    assert lake.relation(con, totals).project("account_count").fetchall() == [(9,)]


def test_only_the_pinned_months_are_read(lake, totals, publish, project, start):
    publish("2026-10-01")
    publish("2026-11-01")
    run = start()
    build(run, project())
    finish(lake, run, totals)
    assert lake.partitions(totals) == {OCTOBER: 1}


def test_a_column_that_older_files_lack_is_null_in_their_rows(
    lake, con, balances, totals, publish, rows, project
):
    publish("2026-10-01")
    extended = replace(balances, schema=balances.schema.insert(1, pa.field("note", pa.string())))
    noted = rows("2026-11-01").project("*, 'new' AS note")
    staged = lake.stage(extended, noted, run_id="later", partition="2026-11-01")
    lake.publish(staged, replace=None, properties={})
    run = start_dbt_run(lake, run_id="dbt-1", partition="both", sources=[(extended, None)])
    counted = TOTALS.replace("count(*)", "count(note)")
    assert build(run, project(model=counted, options=BY_MONTH))
    publish_staged_models(lake, run, [(totals, None)], properties={})
    found = lake.relation(con, totals).project("as_of_month, account_count").fetchall()
    assert sorted(found) == [(OCTOBER, 0), (date(2026, 11, 1), 3)]


def test_a_model_without_rows_publishes_none(lake, totals, publish, project, start):
    publish()
    run = start()
    build(run, project(model=TOTALS.replace("GROUP BY", "WHERE false GROUP BY")))
    assert finish(lake, run, totals)[".".join(totals.identifier)].row_count == 0


def test_a_model_of_several_months_is_written_by_month(lake, totals, publish, project, start):
    publish("2026-10-01")
    publish("2026-11-01")
    run = start(months=None, partition="all months")
    build(run, project(options=BY_MONTH))
    publish_staged_models(lake, run, [(totals, None)], properties={})
    assert lake.partitions(totals) == {OCTOBER: 1, date(2026, 11, 1): 1}


def test_two_models_can_read_the_same_source(lake, balances, totals, publish, project, start):
    publish()
    run = start()
    folder = project()
    (folder / "models" / "counted.sql").write_text(
        "{{ config(materialized='view') }} SELECT count(*) AS n FROM "
        f"{{{{ source('{balances.identifier[0]}', 'balances') }}}} JOIN {{{{ ref('totals') }}}} "
        "USING (as_of_month)"
    )
    assert build(run, folder)


def test_a_model_is_built_and_published_in_s3(
    settings_in_s3, engine, database_url, balances, totals, rows, project
):
    lake = Lake.open(settings_in_s3.model_copy(update={"engine": engine}), database_url)
    source = rows("2026-10-01").to_arrow_table()
    staged = lake.stage(balances, source, run_id="run-1", partition="2026-10-01")
    lake.publish(staged, replace=None, properties={})
    run = start_dbt_run(
        lake, run_id="dbt-1", partition="2026-10-01", sources=[(balances, (OCTOBER, OCTOBER))]
    )
    build(run, project())
    finish(lake, run, totals)
    assert lake.partitions(totals) == {OCTOBER: 1}


@pytest.mark.parametrize("engine", ["duckdb"])
def test_dbt_in_another_process_needs_only_the_runs_variables(
    lake, totals, publish, project, start
):
    publish()
    run = start()
    dbt = Path(sys.executable).with_name("dbt")
    folder = project()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **run.environment}
    subprocess.run([dbt, *arguments(folder, "duckdb")], env=environment, check=True, cwd=folder)
    finish(lake, run, totals)
    assert lake.partitions(totals) == {OCTOBER: 1}


def test_the_audit_sees_the_staged_rows_and_can_stop_them(
    lake, con, totals, publish, project, start
):
    def refuse(staged):
        counted = lake.staged_relation(con, staged).fetchall()
        raise AuditFailedError(f"{len(counted)} row is not enough")

    publish()
    run = start()
    build(run, project())
    with pytest.raises(AuditFailedError, match="1 row is not enough"):
        finish(lake, run, totals, audit=refuse)


def test_a_stopped_model_is_not_published(lake, totals, publish, project, start):
    def refuse(staged):
        raise AuditFailedError("No.")

    publish()
    run = start()
    build(run, project())
    with pytest.raises(AuditFailedError):
        finish(lake, run, totals, audit=refuse)
    assert lake.last_publication(totals) is None


def test_a_model_of_other_types_than_declared_is_refused(lake, totals, publish, project, start):
    publish()
    run = start()
    build(run, project(model=TOTALS.replace("AS INTEGER", "AS BIGINT")))
    with pytest.raises(AuditFailedError, match=r"account_count .* is int64"):
        finish(lake, run, totals)


def test_a_table_whose_model_was_not_built_is_named(lake, totals, publish, start):
    publish()
    with pytest.raises(NotFoundError, match="built no external model"):
        finish(lake, start(), totals)


def test_a_model_that_no_table_was_named_for_is_refused(lake, balances, publish, project, start):
    publish()
    run = start()
    build(run, project())
    with pytest.raises(AuditFailedError, match="not to publish"):
        publish_staged_models(lake, run, [(balances, None)], properties={})


def test_a_source_that_was_not_pinned_fails_the_build(lake, project, publish):
    publish()
    run = start_dbt_run(lake, run_id="dbt-1", partition="2026-10-01", sources=[])
    assert not build(run, project())


@pytest.mark.parametrize("engine", ["spark"])
def test_a_cluster_that_does_not_see_the_lakes_files_is_told_so(
    lake, balances, publish, start, project
):
    publish()
    run = start()
    for path in lake.files(balances):
        Path(path).unlink()
    with pytest.raises(InvalidSettingError, match=r"sees 0 rows of .*balances, this machine 3"):
        build(run, project())


@pytest.mark.parametrize("engine", ["spark"])
def test_a_cluster_that_writes_to_another_disk_fails_the_build(
    publish, start, project, monkeypatch
):
    monkeypatch.setattr("pipeline_platform.lake.spark_adapter.written_files", lambda con, at: [])
    publish()
    assert not build(start(), project())


def test_dbt_outside_of_a_run_fails(project, engine):
    assert not dbtRunner().invoke(arguments(project(), engine)).success
