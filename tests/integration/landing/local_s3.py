"""A local S3 and SQS server (moto) spoken to over real HTTP, and settings that point at it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import boto3

from pipeline_platform.settings import Settings

REGION = "us-east-1"
MADE_UP_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Start moto's server on a free port and give its address; credentials are made-up ones."""
    before = {name: os.environ.get(name) for name in MADE_UP_CREDENTIALS}
    os.environ.update(MADE_UP_CREDENTIALS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (folder / "moto.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_up(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(10)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _wait_until_up(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        if server.poll() is not None:
            raise RuntimeError(f"moto's server ended with code {server.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/moto-api/"):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("moto's server did not come up in 20 seconds")


def s3_client(endpoint: str):
    return boto3.client("s3", endpoint_url=endpoint, region_name=REGION)


def settings_in_s3(endpoint: str, home: Path) -> Settings:
    """Make a bucket and return settings whose raw and archive locations are in it."""
    bucket = f"lake-{uuid4().hex[:12]}"
    s3_client(endpoint).create_bucket(Bucket=bucket)
    return Settings(
        home=home,
        raw_location=f"s3://{bucket}/raw",
        archive_location=f"s3://{bucket}/archive",
        s3_endpoint=endpoint,
        s3_region=REGION,
    )
