"""Every dbt model on both engines from the same snapshots: the same rows, to the last digit.

A pipeline's models are compared by an entry in `COMPARED`: its marts, and how edge rows are made
where a column's type alone does not say enough. No model may be left out.
"""

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dbt.cli.main import dbtRunner
from pydantic import SecretStr
from pyspark.errors import AnalysisException

from pipeline_platform.advisory_performance import marts as advisory_performance
from pipeline_platform.failures import (
    AuditFailedError,
    InvalidSettingError,
    UnavailableError,
)
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.marts import MartGroup
from pipeline_platform.lake.spark import PROFILE, apply_profile, profile, spark_session
from pipeline_platform.lake.staging import staging_location
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.dbt import PROJECT, ModelBuild
from pipeline_platform.orchestration.mart_builds import build_marts, publish_marts
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events import marts as web_events
from pipeline_platform.web_events.run_context import load_runbook

ROWS = 17 * 80
"""Seventeen accounts (or visitors) on eighty days."""
ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class Compared:
    """What is compared of a pipeline: its marts, over which range, and how edge rows are made.

    `columns` gives SQL of DuckDB for a column's value in row `i`; other columns get edge values of
    their type. Rows for which `absent` holds are left out.
    """

    group: MartGroup
    span: tuple[date, date]
    columns: Mapping[str, str]
    variables: Mapping[str, Any] = field(default_factory=dict)
    absent: str = "false"


ACCOUNT, DAY = "(i % 17)", "(i // 17 % 80)"
COMPARED = (
    Compared(
        advisory_performance.MARTS,
        (date(2023, 12, 1), date(2024, 2, 1)),
        # Twenty days of each of four months, of which the first is only read.
        columns={
            "as_of_month": f"DATE '2023-11-01' + to_months(({DAY} // 20)::INT)",
            "as_of_date": f"DATE '2023-11-01' + to_months(({DAY} // 20)::INT)"
            f" + to_days(({DAY} % 20 + 8)::INT)",
            "account_id": f"['acct', 'ACCT', 'Ünïted', '', 'o''Neill'][{ACCOUNT} % 5 + 1]"
            f" || {ACCOUNT}",
            "vendor": f"['Harbor', 'harbor', '北'][{ACCOUNT} % 3 + 1]",
            "currency": "'USD'",
            "account_class": f"['balanced', 'growth'][{ACCOUNT} % 2 + 1]",
            "record_start_date": "DATE '2020-02-29'",
            # Equal weights and returns one unit of the last digit apart: a mean that is a half.
            "market_value": f"CASE WHEN {ACCOUNT} % 2 = 0 THEN 1000"
            " ELSE hash(i) % 900719925474 END",
            "net_return_mtd": f"CASE WHEN {ACCOUNT} % 2 = 0"
            f" THEN ({ACCOUNT} // 2 % 2 + 3) * 0.000000000001"
            " ELSE ((hash(i) % 2000000)::BIGINT - 1000000) * 0.000000123457 END",
            "reconciliation_status": "['COMPLETED', 'COMPLETED', 'BREACH', 'PENDING',"
            f" 'MISSING_OURS', 'MISSING_VENDOR'][(CASE WHEN {ACCOUNT} % 3 = 2 THEN 3"
            " ELSE hash(i) % 6 END)::INT + 1]",
            "probable_cause": "[NULL, 'late fee', 'fx', 'Late fee'][(hash(i, 2) % 4)::INT + 1]",
            "is_current": f"i < {ROWS}",
        },
        absent=f"(i >= {ROWS} AND hash(i) % 7 > 0) OR ({ACCOUNT} + {DAY} // 20) % 6 = 0",
    ),
    Compared(
        web_events.MARTS,
        (date(2023, 12, 14), date(2024, 1, 3)),
        # Two events of each visitor and day, around a new year.
        columns={
            "event_date": f"DATE '2023-11-10' + to_days({DAY}::INT)",
            "event_at": f"TIMESTAMPTZ '2023-11-10 00:00:00+00' + to_days({DAY}::INT)"
            " + to_microseconds((hash(i) % 86400000000)::BIGINT)",
            "event_id": "'event ' || i",
            "event_type": "['page_view', 'add_to_cart', 'purchase', 'Page_View']"
            "[(hash(i, 1) % 4)::INT + 1]",
            "visitor_id": f"'visitor ' || {ACCOUNT}",
            "session_id": f"{ACCOUNT} || '-' || {DAY}",
            "session_event_number": f"i // {ROWS} + 1",
            "is_bot": f"{ACCOUNT} % 5 = 0",
            "device_type": "['desktop', 'mobile', 'unknown'][(hash(i, 4) % 3)::INT + 1]",
            "traffic_channel": "['direct', 'search', 'campaign'][(hash(i, 5) % 3)::INT + 1]",
            "status_code": "[200, 404, 500, 399, NULL][(hash(i, 2) % 5)::INT + 1]",
            "data_quality_score": "(hash(i, 3) % 3001) / 3000",
        },
        variables=web_events.mart_variables(load_runbook().rulings),
    ),
)


def edge_rows(con: duckdb.DuckDBPyConnection, table: LakeTable, compared: Compared):
    """Make rows with nulls wherever they may be, negatives, odd texts and microseconds."""
    expressions = []
    for number, column in enumerate(table.schema):
        kind = duckdb_type(column)
        made = compared.columns.get(column.name, _edge_value(kind, number))
        if column.nullable and column.name not in compared.columns:
            made = f"CASE WHEN hash(i, {number}) % 9 > 0 THEN {made} END"
        expressions.append(f"CAST({made} AS {kind}) AS {column.name}")
    return con.sql(
        f"SELECT {', '.join(expressions)} FROM range({2 * ROWS}) r(i) WHERE NOT ({compared.absent})"
    )


def _edge_value(kind: str, number: int) -> str:
    if kind.startswith("DECIMAL"):
        scale = int(kind.rstrip(")").partition(",")[2])
        small = f"((hash(i, {number}) % 200001)::BIGINT - 100000)"
        return f"CAST({small} AS DECIMAL(18, 0)) * {Decimal(1).scaleb(-scale):f}"
    return {
        "VARCHAR": "['', 'a', 'A', 'é', 'it''s'][(hash(i) % 5)::INT + 1]",
        "BOOLEAN": f"hash(i, {number}) % 2 = 0",
        "DATE": "DATE '2024-02-29'",
        "DOUBLE": "i / 7",
        "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2024-02-29 23:59:59.999999+00'",
    }.get(kind, "i")


def build(services: Services, compared: Compared, run_id: str) -> ModelBuild:
    return build_marts(services, compared.group, compared.span, compared.variables, run_id)


def publish(services: Services, compared: Compared, made: ModelBuild) -> None:
    publish_marts(services, compared.group, made, compared.span)


def untested(made: ModelBuild) -> ModelBuild:
    """Leave dbt's verdicts out: edge rows break rules that real rows keep."""
    return replace(made, tests=())


@contextmanager
def on(settings: Settings, engine: str, **more: object) -> Iterator[Services]:
    """Open the platform of these settings with another engine."""
    with Services(settings.model_copy(update={"engine": engine, **more})) as services:
        yield services


@pytest.fixture(scope="module")
def lake_settings(new_database, tmp_path_factory) -> Settings:
    """Settings of a lake whose source tables hold the edge rows of every pipeline."""
    settings = Settings(
        home=tmp_path_factory.mktemp("engines"),
        environment="test",
        database_url=SecretStr(new_database()),
    )
    with Services(settings) as services, services.connect() as con:
        for compared in COMPARED:
            for table in compared.group.sources:
                rows = edge_rows(con, table, compared)
                staged = services.lake.stage(table, rows, run_id="edge", partition="edge")
                services.lake.publish(staged, replace=None, properties={})
    return settings


@pytest.fixture(scope="module")
def built(lake_settings) -> Mapping[str, Mapping[str, Counter]]:
    """Rows of every mart by engine, as published after a build on it."""
    found = {}
    for engine in ENGINES:
        with on(lake_settings, engine) as services, services.connect() as con:
            for compared in COMPARED:
                made = build(services, compared, f"{engine}-1")
                publish(services, compared, untested(made))
                for mart in compared.group.tables:
                    rows = services.lake.relation(con, mart).fetchall()
                    found.setdefault(mart.name, {})[engine] = Counter(rows)
    return found


MODELS = [mart for compared in COMPARED for mart in compared.group.tables]


def test_no_model_is_left_out() -> None:
    written = {path.stem for path in PROJECT.glob("models/gold/*/*.sql")}
    assert written == {mart.name for mart in MODELS}


@pytest.mark.parametrize("mart", MODELS, ids=lambda mart: mart.name)
def test_both_engines_make_the_same_rows(built, mart) -> None:
    assert built[mart.name]["spark"] == built[mart.name]["duckdb"]


@pytest.mark.parametrize("mart", MODELS, ids=lambda mart: mart.name)
def test_the_compared_rows_fill_every_column(built, mart) -> None:
    columns = zip(*built[mart.name]["duckdb"], strict=True)
    always_null = [
        name
        for name, values in zip(mart.schema.names, columns, strict=True)
        if set(values) == {None}
    ]
    assert always_null == []


def test_dbt_tests_run_on_spark_and_a_failing_one_stops_publication(
    lake_settings, new_database, tmp_path
) -> None:
    compared = COMPARED[0]
    settings = lake_settings.model_copy(
        update={"home": tmp_path, "database_url": SecretStr(new_database()), "engine": "spark"}
    )
    settings = Settings.model_validate(
        {**settings.model_dump(), "processed_location": "", "temp_location": ""}
    )
    with Services(settings) as services, services.connect() as con:
        for table in compared.group.sources:
            once = edge_rows(con, table, compared)
            staged = services.lake.stage(table, once.union(once), run_id="twice", partition="twice")
            services.lake.publish(staged, replace=None, properties={})
        made = build(services, compared, "twice")
        assert "account_performance_is_unique" in {one.name for one in made.failed_tests}
        with pytest.raises(AuditFailedError, match=r"account_performance_.* failed for"):
            publish(services, compared, made)
        published = [services.lake.last_publication(mart) for mart in compared.group.tables]
    assert published == [None] * len(compared.group.tables)


# A cluster by address -------------------------------------------------------------------------


@contextmanager
def sail() -> Iterator[tuple[subprocess.Popen, str]]:
    """Run a Sail server as a process of its own; yield it with its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pysail", "spark", "server", "--port", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            wait_until_listening(server, port)
            yield server, f"sc://127.0.0.1:{port}"
        finally:
            server.kill()


def wait_until_listening(server: subprocess.Popen, port: int) -> None:
    for _ in range(600):
        assert server.poll() is None
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"Sail does not listen on port {port}")


@contextmanager
def killed_when_staged(server: subprocess.Popen, staging: str) -> Iterator[None]:
    """Kill a server as soon as the run `killed` has begun to write a model."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            if any(Path(staging).glob("**/killed-*/*")):
                server.kill()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def test_a_cluster_is_used_by_its_address(lake_settings, built) -> None:
    compared = COMPARED[0]
    with (
        sail() as (_, address),
        on(lake_settings, "spark", spark_remote=SecretStr(address)) as services,
        services.connect() as con,
    ):
        made = build(services, compared, "by-address")
        publish(services, compared, untested(made))
        mart = compared.group.tables[0]
        found = Counter(services.lake.relation(con, mart).fetchall())
    assert found == built[mart.name]["duckdb"]


def test_a_cluster_killed_during_a_build_leaves_nothing_and_the_next_build_succeeds(
    lake_settings,
) -> None:
    compared = COMPARED[0]
    with (
        sail() as (server, address),
        on(lake_settings, "spark", spark_remote=SecretStr(address)) as services,
    ):
        before = [services.lake.last_publication(mart) for mart in compared.group.tables]
        with (
            killed_when_staged(server, staging_location(services.settings)),
            pytest.raises(UnavailableError, match="stopped answering during the build"),
        ):
            build(services, compared, "killed")
        assert server.wait(timeout=30) == -signal.SIGKILL
        assert [services.lake.last_publication(mart) for mart in compared.group.tables] == before
    with on(lake_settings, "spark") as services:
        publish(services, compared, untested(build(services, compared, "killed")))
        after = [services.lake.last_publication(mart) for mart in compared.group.tables]
    assert {one.properties["run_id"] for one in after} == {"killed"}


def test_a_cluster_that_is_not_there_is_named_in_one_sentence(lake_settings, monkeypatch) -> None:
    monkeypatch.setattr("pipeline_platform.lake.spark.CONNECT_SECONDS", 0.5)
    remote = SecretStr("sc://127.0.0.1:9/;token=not-to-be-shown")
    with (
        on(lake_settings, "spark", spark_remote=remote) as services,
        pytest.raises(UnavailableError) as raised,
    ):
        build(services, COMPARED[0], "absent")
    assert str(raised.value) == (
        "No Spark Connect server answers at 127.0.0.1:9 within 0.5 s; "
        "start it or correct PLATFORM_SPARK_REMOTE."
    )


def test_an_address_of_another_protocol_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match=r"PLATFORM_SPARK_REMOTE.*sc://host:15002"):
        Settings.from_env({"PLATFORM_SPARK_REMOTE": "http://host:15002"})


def test_an_address_that_is_none_is_refused_without_being_shown(lake_settings) -> None:
    remote = SecretStr("sc://host:15002/path;token=not-to-be-shown")
    with (
        on(lake_settings, "spark", spark_remote=remote) as services,
        pytest.raises(InvalidSettingError) as raised,
    ):
        build(services, COMPARED[0], "no-address")
    assert "PLATFORM_SPARK_REMOTE" in str(raised.value)
    assert "not-to-be-shown" not in str(raised.value)


# The session ----------------------------------------------------------------------------------


def test_the_profile_holds_the_six_adaptive_settings() -> None:
    adaptive = yaml.safe_load(PROFILE.read_text("utf-8"))["adaptive"]
    assert adaptive == {
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.adaptive.coalescePartitions.enabled": "true",
        "spark.sql.adaptive.skewJoin.enabled": "true",
        "spark.sql.adaptive.localShuffleReader.enabled": "true",
        "spark.sql.adaptive.advisoryPartitionSizeInBytes": "128MB",
        "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold": "0",
    }


def test_a_session_has_every_setting_of_the_profile(lake_settings) -> None:
    with spark_session(lake_settings) as session:
        found = {name: session.conf.get(name) for name in profile()}
    assert found == profile()


def test_a_process_whose_main_module_has_no_file_can_open_a_session(lake_settings) -> None:
    """The client would exit there, which no handler of exceptions sees."""
    program = (
        "from pipeline_platform.settings import Settings\n"
        "from pipeline_platform.lake.spark import spark_session\n"
        f"with spark_session(Settings(home={str(lake_settings.home)!r})) as session:\n"
        "    print(session.sql('SELECT 42').collect()[0][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "42\n")


class Stubborn:
    """A session whose server refuses each setting, as Spark does with those of its start."""

    @property
    def conf(self) -> "Stubborn":
        return self

    def set(self, name: str, value: str) -> None:
        raise AnalysisException(f"Cannot modify the value of {name}.\nAt length: why.")


def test_a_setting_that_the_server_refuses_is_logged_and_nothing_more(caplog) -> None:
    apply_profile(Stubborn())
    assert len(caplog.messages) == len(profile())
    assert caplog.messages[0] == (
        "The Spark server does not take spark.sql.session.timeZone = UTC: "
        "Cannot modify the value of spark.sql.session.timeZone."
    )


# Arithmetic -----------------------------------------------------------------------------------


def compiled(engine: str, sql: str, folder: Path) -> str:
    """Render macros as a model of this engine would."""
    folders = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    folders += ["--target-path", str(folder), "--target", engine]
    command = ["--quiet", "--log-level-file", "none", "--no-populate-cache", "compile", *folders]
    result = dbtRunner().invoke([*command, "--no-introspect", "--inline", sql])
    assert result.exception is None
    return result.result.results[0].node.compiled_code


def calculated(engine: str, sql: str, columns: str, rows: list[tuple], settings: Settings) -> list:
    """Run a query over the relation `numbers`, which has these rows."""
    query = compiled(engine, sql, settings.home / "compiled" / engine)
    if engine == "spark":
        with spark_session(settings) as session:
            session.createDataFrame(rows, columns).createOrReplaceTempView("numbers")
            return [tuple(row) for row in session.sql(query).collect()]
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE numbers ({columns})")
        con.executemany(f"INSERT INTO numbers VALUES ({', '.join('?' * len(rows[0]))})", rows)
        return con.execute(query).fetchall()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_percentage_is_exact_and_rounded_half_away_from_zero(engine, lake_settings) -> None:
    counts = [(n, d) for d in range(41) for n in range(d + 1)]
    counts += [(1, 800_000), (3, 800_000), (999_999, 800_000), (10**12, 10**12), (7, 10**12)]
    sql = "select n, d, {{ percentage('n', 'd') }} as pct from numbers"

    found = calculated(engine, sql, "n BIGINT, d BIGINT", counts, lake_settings)

    expected = {
        (n, d): (Decimal(100 * n) / d).quantize(Decimal("0.0001"), ROUND_HALF_UP) if d else None
        for n, d in counts
    }
    assert {(n, d): pct for n, d, pct in found} == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_a_double_near_a_half_is_rounded_away_from_zero(engine, lake_settings) -> None:
    pick = random.Random(3)
    halves = [sign * (pick.randrange(10**12) + 0.5) * 1e-12 for _ in range(500) for sign in (1, -1)]
    sql = "select x, {{ rounded('x', 18, 12) }} as y from numbers"

    found = calculated(engine, sql, "x DOUBLE", [(x,) for x in halves], lake_settings)

    def away(x: float) -> Decimal:
        exact = Decimal(x).quantize(Decimal("1e-14"), ROUND_HALF_UP)
        return exact.quantize(Decimal("1e-12"), ROUND_HALF_UP)

    assert dict(found) == {x: away(x) for x in halves}
