"""The second engine: a Spark Connect session that reads and writes Parquet files, nothing else.

Any server that speaks the protocol will do (Sail, Spark, EMR): it needs no catalog and no table
format, only access to the lake's files. With no address given, a Sail server runs inside this
process for as long as the session is open, so none can be left behind.
"""

import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import yaml

from pipeline_platform.failures import InvalidSettingError, PlatformError, UnavailableError
from pipeline_platform.lake.column_types import spark_type
from pipeline_platform.lake.engine import options
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession
    from pyspark.sql.types import StructType

CONNECT_SECONDS = 10.0
PROFILE = Path(__file__).with_name("spark_profile.yaml")
_RETRIES = 3  # one second for each query; the client's own patience is ten minutes

_log = logging.getLogger(__name__)


@contextmanager
def spark_session(settings: Settings) -> Iterator["SparkSession"]:
    """Open a session with the profile's settings; it is the process's default one until the end.

    Raises InvalidSettingError without the optional packages and when the server refuses what the
    block asks of it. Raises UnavailableError when the server does not answer at the block's
    beginning or end, whatever else failed within.
    """
    if settings.spark_remote is not None:
        with _connected(settings.spark_remote.get_secret_value()) as session:
            yield session
        return
    with _own_server(settings) as address, _connected(address) as session:
        yield session


def create_view(
    session: "SparkSession",
    name: str,
    columns: "str | StructType",
    files: Sequence[str],
    *,
    row_count: int,
) -> None:
    """Make a temporary view of Parquet files; columns that a file lacks are null in its rows.

    Raises InvalidSettingError unless the server sees `row_count` rows: there are servers that
    leave out files which they can't find, without a word.
    """
    rows = (
        session.read.schema(columns).parquet(*files)
        if files
        else session.createDataFrame([], columns)
    )
    rows.createOrReplaceTempView(name)
    require_same_files(name, seen=rows.count() if files else 0, expected=row_count)


def require_same_files(name: str, *, seen: int, expected: int) -> None:
    """Raise InvalidSettingError if the server and we don't see the same rows of a view's files."""
    if seen != expected:
        raise InvalidSettingError(
            f"The Spark Connect server sees {seen} rows of {name}, this machine {expected}; both "
            "must read and write the same PLATFORM_PROCESSED_LOCATION, see docs/scaling.md."
        )


def spark_columns(schema: pa.Schema) -> str:
    """Return a table's columns as Spark reads them in a declaration."""
    return ", ".join(f"`{column.name}` {spark_type(column)}" for column in schema)


@cache
def profile() -> Mapping[str, str]:
    """Return every setting of a session by its name."""
    groups = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    return {name: value for group in groups.values() for name, value in group.items()}


def apply_profile(session: "SparkSession") -> None:
    """Give a session the profile's settings; the log says which its server does not take."""
    from pyspark.errors import PySparkException  # noqa: PLC0415 -- optional package

    for name, value in profile().items():
        try:
            session.conf.set(name, value)
        except PySparkException as error:
            reason = str(error).partition("\n")[0]
            _log.warning("The Spark server does not take %s = %s: %s", name, value, reason)


@contextmanager
def _connected(address: str) -> Iterator["SparkSession"]:
    # Rows never pass through pandas here.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    try:
        with _main_module_of_a_file():
            import grpc  # noqa: PLC0415 -- optional package, only for this engine
            from pyspark.errors import PySparkException  # noqa: PLC0415
            from pyspark.sql.connect.client import DefaultChannelBuilder  # noqa: PLC0415
            from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415
            from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        builder = DefaultChannelBuilder(address)
    except PySparkException:  # its words repeat the address, which may hold a token
        raise InvalidSettingError(
            "The setting PLATFORM_SPARK_REMOTE is no address of a Spark Connect server; write it "
            "as sc://host:15002 or sc://host:443/;name=value;name=value."
        ) from None
    with builder.toChannel() as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise UnavailableError(
                f"No Spark Connect server answers at {builder.endpoint} within "
                f"{CONNECT_SECONDS:g} s; start it or correct PLATFORM_SPARK_REMOTE."
            ) from None
    session = SparkSession.builder.channelBuilder(builder).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
    try:
        apply_profile(session)
        # dbt-spark asks for the process's session, which it may do only where an address is set.
        with _environment({"SPARK_REMOTE": address}):
            yield session
    except PySparkException as error:
        _require_answer(session, builder.endpoint)
        reason = str(error).partition("\n")[0]
        raise InvalidSettingError(
            f"The Spark Connect server at {builder.endpoint} can't do its part: {reason}. It must "
            "be able to read and write PLATFORM_PROCESSED_LOCATION; see docs/scaling.md."
        ) from error
    except PlatformError:
        _require_answer(session, builder.endpoint)
        raise
    else:
        _require_answer(session, builder.endpoint)
    finally:
        session.stop()


def _require_answer(session: "SparkSession", endpoint: str) -> None:
    """Ask the server for its version; UnavailableError if it is gone."""
    from pyspark.errors import PySparkException  # noqa: PLC0415 -- optional package

    try:
        _ = session.version
    except PySparkException:
        session.client.set_retry_policies([])
        raise UnavailableError(
            f"The Spark Connect server at {endpoint} stopped answering during the build; nothing "
            "was published, so start it and run this again."
        ) from None


@contextmanager
def _own_server(settings: Settings) -> Iterator[str]:
    """Run Sail in this process, within the settings' memory and threads; yield its address."""
    try:
        from pysail.spark import SparkConnectServer  # noqa: PLC0415 -- optional package
    except ImportError as error:
        raise _not_installed(error) from error
    spill = Path(options(settings)["temp_directory"])
    spill.mkdir()
    variables = {
        "RUST_LOG": os.environ.get("RUST_LOG", "error"),
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(settings.memory_bytes),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([str(spill)]),
        "SAIL_EXECUTION__DEFAULT_PARALLELISM": str(settings.threads),
        "AWS_REGION": settings.s3_region,
    }
    if settings.s3_endpoint:
        variables |= {"AWS_ENDPOINT": settings.s3_endpoint, "AWS_ALLOW_HTTP": "true"}
    with _environment(variables):
        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        try:
            host, port = server.listening_address
            yield f"sc://{host}:{port}"
        finally:
            server.stop()
            shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, where the server looks for its options."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _main_module_of_a_file() -> Iterator[None]:
    """Let the client be imported where the main module has no file, such as in a forked worker.

    It takes such a process for one of its own tests, looks for a whole Spark and exits.
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = sys.executable
    try:
        yield
    finally:
        del main.__file__


def _not_installed(error: ImportError) -> InvalidSettingError:
    return InvalidSettingError(
        f"PLATFORM_ENGINE=spark needs the package {error.name}; "
        "install requirements-spark.txt or set PLATFORM_ENGINE=duckdb."
    )
