"""No commit names a file that is not on the disk."""

import os
import threading
from pathlib import Path

import pytest


@pytest.fixture
def forced(monkeypatch) -> set[int]:
    """The files (by inode) that were forced to the disk by the one who publishes."""
    seen: set[int] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if threading.current_thread() is threading.main_thread():
            seen.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_files_are_on_the_disk_when_they_are_published(lake, balances, rows, forced) -> None:
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    inodes = {Path(path).stat().st_ino for path in staged.files}
    forced.clear()
    lake.publish(staged, replace=None, properties={})
    assert inodes <= forced


def test_streamed_files_are_on_the_disk_when_they_are_published(
    lake, balances, rows, forced
) -> None:
    with lake.streams(balances, run_id="run-1", partition="some rows") as (stream,):
        stream.copy(rows("2026-10-01"))
    staged = lake.stage_stream(stream)
    inodes = {Path(path).stat().st_ino for path in staged.files}
    forced.clear()
    lake.publish(staged, replace=None, properties={})
    assert inodes <= forced
