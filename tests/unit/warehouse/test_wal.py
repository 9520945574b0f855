"""A piece of the log is kept whole or not at all, never replaced, and missed when it is gone."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_platform.warehouse import archive_wal
from pipeline_platform.warehouse.archive_wal import NOT_DONE, UNREADABLE, fetch, store
from pipeline_platform.warehouse.wal import missing_segments, segment_of, segments_before

NAME = "00000001000000000000000A"


@pytest.fixture
def piece(tmp_path: Path) -> Path:
    path = tmp_path / "piece"
    path.write_bytes(b"changes" * 1000)
    return path


def test_a_kept_piece_comes_back(tmp_path: Path, piece: Path) -> None:
    assert store(str(tmp_path / "wal"), NAME, piece) == 0
    assert fetch(str(tmp_path / "wal"), NAME, tmp_path / "back") == 0
    assert (tmp_path / "back").read_bytes() == piece.read_bytes()


def test_keeping_a_piece_again_changes_nothing(tmp_path: Path, piece: Path) -> None:
    assert [store(str(tmp_path / "wal"), NAME, piece) for _ in range(2)] == [0, 0]
    assert [one.name for one in (tmp_path / "wal").iterdir()] == [f"{NAME}.gz"]


def test_another_piece_of_the_same_name_is_refused(tmp_path: Path, piece: Path) -> None:
    store(str(tmp_path / "wal"), NAME, piece)
    piece.write_bytes(b"other")
    assert store(str(tmp_path / "wal"), NAME, piece) == NOT_DONE
    assert gzip.decompress((tmp_path / "wal" / f"{NAME}.gz").read_bytes()) != b"other"


def test_what_a_killed_attempt_left_is_no_piece(tmp_path: Path, piece: Path) -> None:
    folder = tmp_path / "wal"
    folder.mkdir()
    (folder / f".{NAME}.partial").write_bytes(b"half")
    assert fetch(str(folder), NAME, tmp_path / "back") == NOT_DONE
    assert store(str(folder), NAME, piece) == 0


def test_an_archive_that_cant_be_read_is_not_the_end_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wal"
    folder.mkdir()
    (folder / f"{NAME}.gz").write_bytes(b"no gzip")
    given = ["archive_wal.py", "fetch", str(folder), NAME, str(tmp_path / "back")]
    monkeypatch.setattr(sys, "argv", given)
    assert archive_wal.main() == UNREADABLE


def test_it_runs_without_anything_but_the_standard_library(tmp_path: Path, piece: Path) -> None:
    command = [sys.executable, "-I", "-S", archive_wal.__file__, "store", str(tmp_path / "wal")]
    assert subprocess.run([*command, NAME, str(piece)], check=False).returncode == 0


def test_the_piece_of_a_position() -> None:
    assert segment_of(1, "0/3000028") == "000000010000000000000003"
    assert segment_of(2, "1A/FF000000") == "000000020000001A000000FF"


def test_a_gap_is_found_also_across_files() -> None:
    kept = ["0000000100000000000000FE", "000000010000000100000000", "00000002.history"]
    assert missing_segments(kept, kept[0], kept[1]) == ["0000000100000000000000FF"]


def test_a_gap_after_the_least_is_found_too() -> None:
    kept = ["000000010000000000000001", "000000010000000000000003"]
    assert missing_segments(kept, kept[0], kept[0]) == ["000000010000000000000002"]


def test_older_pieces_of_every_timeline_may_go_but_no_history() -> None:
    kept = ["000000010000000000000001.gz", "000000020000000000000002.gz", "00000002.history.gz"]
    assert segments_before(kept, "000000020000000000000003") == kept[:2]
