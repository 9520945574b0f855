"""Object stores side by side: ours, bare obstore, fsspec; a local folder and S3 over HTTP (moto).

Each lists and reads the same objects in one run, in turn, and the best of three rounds counts.
fsspec reaches S3 through pyarrow's file system, because s3fs pins an old boto3. The last lines
show what a whole move costs (claim and archive: hash, force to disk, verify) and its peak memory.
`python -m benchmarks.landing` prints the tables.
"""

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import TypeVar

import boto3
import fsspec
import obstore
import pyarrow.fs
from fsspec.implementations.arrow import ArrowFSWrapper
from obstore.store import LocalStore, S3Store
from rich.console import Console
from rich.table import Table

from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.settings import Settings

Result = TypeVar("Result")

ROUNDS = 3
LARGE_BYTES = 16 * 1024**2
LOCAL_SMALL, S3_SMALL = 2000, 300
SMALL = b"account_id,as_of_date\n" * 100
BUCKET = "benchmark"


@dataclass(frozen=True)
class Row:
    """One client's seconds: to list all, to read all small ones, to read a large one."""

    place: str
    client: str
    list_seconds: float
    small_seconds: float
    large_seconds: float


@dataclass(frozen=True)
class Client:
    """How a client lists the keys below `incoming/` and reads one of them."""

    name: str
    list: Callable[[], list[str]]
    read: Callable[[str], bytes]


def local_clients(root: Path) -> list[Client]:
    """Return the three clients over a local folder."""
    ours = ObjectStore.at(str(root), Settings(home=root))
    bare = LocalStore(prefix=root)
    files = fsspec.filesystem("file")
    return [
        _our_client(ours),
        _obstore_client(bare),
        Client("fsspec (local)", lambda: files.find(str(root / "incoming")), files.cat_file),
    ]


def s3_clients(endpoint: str, home: Path) -> list[Client]:
    """Return the three clients over a bucket."""
    ours = ObjectStore.at(f"s3://{BUCKET}", Settings(home=home, s3_endpoint=endpoint))
    options = {"allow_http": True}
    bare = S3Store(BUCKET, endpoint=endpoint, region="us-east-1", client_options=options)
    arrow = pyarrow.fs.S3FileSystem(
        endpoint_override=endpoint.removeprefix("http://"), scheme="http", region="us-east-1"
    )
    files = ArrowFSWrapper(arrow)
    return [
        _our_client(ours),
        _obstore_client(bare),
        Client("fsspec (pyarrow)", lambda: files.find(f"{BUCKET}/incoming"), files.cat_file),
    ]


def _our_client(store: ObjectStore) -> Client:
    return Client("ours", lambda: [found.key for found in store.list("incoming")], store.read)


def _obstore_client(store: LocalStore | S3Store) -> Client:
    return Client(
        "obstore",
        lambda: [found["path"] for page in obstore.list(store, "incoming") for found in page],
        lambda key: bytes(obstore.get(store, key).bytes()),
    )


def compare(place: str, clients: list[Client], expected: int) -> list[Row]:
    """Measure all clients in turn, round by round, so that a slow moment hits them all."""
    best: dict[str, list[float]] = {client.name: [float("inf")] * 3 for client in clients}
    for _ in range(ROUNDS):
        for client in clients:
            listed, keys = _seconds(client.list)
            if len(keys) != expected:
                raise RuntimeError(f"{client.name} listed {len(keys)} of {expected} objects")
            small = [key for key in keys if not key.endswith("large")]
            [large] = [key for key in keys if key.endswith("large")]
            many, _ = _seconds(lambda: [client.read(key) for key in small])  # noqa: B023
            one, content = _seconds(lambda: client.read(large))  # noqa: B023
            if len(content) != LARGE_BYTES:
                raise RuntimeError(f"{client.name} read {len(content)} bytes of {LARGE_BYTES}")
            now = (listed, many, one)
            best[client.name] = [min(pair) for pair in zip(best[client.name], now, strict=True)]
    return [Row(place, client.name, *best[client.name]) for client in clients]


def measure_local(root: Path) -> list[Row]:
    """Fill a folder and measure the clients over it."""
    incoming = root / "incoming"
    incoming.mkdir()
    for number in range(LOCAL_SMALL):
        (incoming / f"{number:05}.csv").write_bytes(SMALL)
    (incoming / "large").write_bytes(os.urandom(LARGE_BYTES))
    return compare("local", local_clients(root), LOCAL_SMALL + 1)


def measure_s3(home: Path) -> list[Row]:
    """Fill a bucket of a server on this machine and measure the clients over HTTP."""
    with s3_server() as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        for number in range(S3_SMALL):
            client.put_object(Bucket=BUCKET, Key=f"incoming/{number:05}.csv", Body=SMALL)
        client.put_object(Bucket=BUCKET, Key="incoming/large", Body=os.urandom(LARGE_BYTES))
        return compare("S3", s3_clients(endpoint, home), S3_SMALL + 1)


def measure_moves(root: Path) -> list[tuple[str, float, float]]:
    """Claim and archive many small files, then a large one: (what, seconds, MB a second)."""
    zone = LandingZone(Settings(home=root / "zone"), "advisory")
    incoming = root / "zone" / "landing" / "advisory" / "incoming"
    incoming.mkdir(parents=True)
    count = 200
    for number in range(count):
        (incoming / f"{number}.csv").write_bytes(SMALL + str(number).encode())
    small, _ = _seconds(lambda: _move_all(zone))
    with (incoming / "large").open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(1024**2))
    large, _ = _seconds(lambda: _move_all(zone))
    megabytes = len(SMALL) * count / 1e6, 256 * 1024**2 / 1e6
    return [
        (f"{count} small files", small, megabytes[0] / small),
        (f"one file of {megabytes[1]:.0f} MB", large, megabytes[1] / large),
    ]


def _move_all(zone: LandingZone) -> None:
    for waiting in zone.list("incoming"):
        zone.archive(zone.claim(waiting.key))


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server in a process of its own, with made-up credentials."""
    os.environ.update({"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/moto-api/")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(address: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(address).close()
        except OSError:
            sleep(0.1)
        else:
            return
    raise RuntimeError("moto's server did not come up in 20 seconds")


def _seconds(work: Callable[[], Result]) -> tuple[float, Result]:
    start = perf_counter()
    result = work()
    return perf_counter() - start, result


def main() -> int:
    """Measure and print the tables; about 30 seconds. There is no bar to miss: 0."""
    root = Path(tempfile.mkdtemp(prefix="landing-benchmark-"))
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        moves = measure_moves(root)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        rows = measure_local(root) + measure_s3(root)
    finally:
        shutil.rmtree(root)
    console = Console()
    table = Table("place", "client", "list", "objects/s", "read small", "reads/s", "read 16 MiB")
    for row in rows:
        count = LOCAL_SMALL if row.place == "local" else S3_SMALL
        table.add_row(
            row.place,
            row.client,
            f"{row.list_seconds:.3f} s",
            f"{count / row.list_seconds:,.0f}",
            f"{row.small_seconds:.3f} s",
            f"{count / row.small_seconds:,.0f}",
            f"{row.large_seconds:.3f} s",
        )
    console.print(table)
    table = Table("claim and archive, local folder", "seconds", "MB/s")
    for what, seconds, speed in moves:
        table.add_row(what, f"{seconds:.2f}", f"{speed:.1f}")
    console.print(table)
    console.print(f"Peak memory grew by {grown / 1024:.0f} MB while moving.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
