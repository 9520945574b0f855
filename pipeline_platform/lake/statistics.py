"""Column statistics of a snapshot, where engines look for them: a Puffin file of theta sketches.

Counts, bounds and nulls of each file are in Iceberg's manifests already, written by every commit.
What a planner lacks is how many different values a column has (for the order of joins and the size
of groups). Iceberg keeps that in a statistics file of the snapshot, as Trino and Spark write and
read it: one blob `apache-datasketches-theta-v1` a column, whose property `ndv` is the estimate.

Formats: the Puffin specification of Iceberg; the compact theta sketch, serial version 3, of Apache
DataSketches, with its default seed and 4096 kept hashes (a standard error of 1.6 %).
"""

import heapq
import json
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from pipeline_platform.lake.engine import sql_name
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.statistics import StatisticsFile

KEPT_HASHES = 4096
BLOB_TYPE = "apache-datasketches-theta-v1"
_MAGIC = b"PFA1"
_SEED = 9001
_LARGEST = 2**63 - 1
_SEED_HASH = 0x93CC  # of the seed 9001, as every default sketch carries it
_READ_ONLY, _EMPTY, _COMPACT, _ORDERED = 2, 4, 8, 16


@dataclass(frozen=True)
class ThetaSketch:
    """The smallest hashes of a column's values, ordered, and the bound below which all are kept."""

    hashes: tuple[int, ...]
    theta: int = _LARGEST

    @property
    def distinct_count(self) -> int:
        """How many different values there are: exact up to 4096, else an estimate."""
        if self.theta == _LARGEST:
            return len(self.hashes)
        return round(len(self.hashes) * _LARGEST / self.theta)

    def to_bytes(self) -> bytes:
        """Return the compact form: a head of one to three words of eight bytes, then the hashes."""
        flags = _READ_ONLY | _COMPACT | _ORDERED
        words = struct.pack(f"<{len(self.hashes)}Q", *self.hashes)
        if self.theta < _LARGEST:
            return _head(3, flags) + struct.pack("<QQ", len(self.hashes), self.theta) + words
        if len(self.hashes) > 1:
            return _head(2, flags) + struct.pack("<Q", len(self.hashes)) + words
        return _head(1, flags if self.hashes else flags | _EMPTY) + words


def theta_sketch(values: Iterable[bytes]) -> ThetaSketch:
    """Sketch values, each in Iceberg's single-value serialisation; doubles count once.

    Values may be any number: never more than twice the kept hashes are remembered.
    """
    import mmh3  # noqa: PLC0415 -- PyIceberg's own hash, for statistics only

    kept: set[int] = set()
    theta = _LARGEST
    for value in values:
        number = mmh3.hash64(value, _SEED, signed=False)[0] >> 1
        if 0 < number < theta:
            kept.add(number)
            if len(kept) > 2 * KEPT_HASHES:
                kept, theta = _smallest(kept)
    if len(kept) > KEPT_HASHES:
        kept, theta = _smallest(kept)
    return ThetaSketch(tuple(sorted(kept)), theta)


def _smallest(hashes: set[int]) -> tuple[set[int], int]:
    """Return the hashes to keep and the bound, the smallest that is not kept."""
    *kept, theta = heapq.nsmallest(KEPT_HASHES + 1, hashes)
    return set(kept), theta


def _head(words: int, flags: int) -> bytes:
    return struct.pack("<BBBBBBH", words, 3, 3, 0, 0, flags, _SEED_HASH)


def puffin_file(
    sketches: Mapping[int, ThetaSketch], *, snapshot_id: int, sequence_number: int
) -> tuple[bytes, int, list[dict[str, Any]]]:
    """Return a Puffin file of a sketch per field id, its footer's size and the blobs' metadata."""
    content = bytearray(_MAGIC)
    blobs = []
    for field, sketch in sketches.items():
        blob = sketch.to_bytes()
        blobs.append(
            {
                "type": BLOB_TYPE,
                "fields": [field],
                "snapshot-id": snapshot_id,
                "sequence-number": sequence_number,
                "offset": len(content),
                "length": len(blob),
                "properties": {"ndv": str(sketch.distinct_count)},
            }
        )
        content += blob
    payload = json.dumps(
        {"blobs": blobs, "properties": {"created-by": "pipeline_platform"}}
    ).encode()
    footer = _MAGIC + payload + struct.pack("<II", len(payload), 0) + _MAGIC
    return bytes(content) + footer, len(footer), blobs


def counted_columns(table: LakeTable) -> list[str]:
    """Return the columns whose different values are worth counting: no decimals, no doubles."""
    return [
        column.name
        for column in table.schema
        if not pa.types.is_decimal(column.type) and not pa.types.is_floating(column.type)
    ]


def column_sketches(
    iceberg: "Table", rows: duckdb.DuckDBPyRelation, columns: Sequence[str]
) -> dict[int, ThetaSketch]:
    """Sketch columns of rows, by the table's field id; nulls are not values."""
    return {
        iceberg.schema().find_field(name).field_id: theta_sketch(
            _serialised(iceberg.schema().find_type(name), rows, name)
        )
        for name in columns
    }


def write_statistics(
    iceberg: "Table", snapshot: "Snapshot", sketches: Mapping[int, ThetaSketch]
) -> "StatisticsFile":
    """Write sketches of a snapshot's rows to a file below the table; no metadata name it yet.

    Statistics that the snapshot had are replaced by naming it; before that the file is an orphan.
    """
    from pyiceberg.table.statistics import StatisticsFile  # noqa: PLC0415

    content, footer_size, blobs = puffin_file(
        sketches,
        snapshot_id=snapshot.snapshot_id,
        sequence_number=snapshot.sequence_number or 0,
    )
    path = f"{iceberg.location()}/metadata/{snapshot.snapshot_id}-{uuid.uuid4()}.stats"
    with iceberg.io.new_output(path).create() as output:
        output.write(content)
    return StatisticsFile.model_validate(
        {
            "snapshot-id": snapshot.snapshot_id,
            "statistics-path": path,
            "file-size-in-bytes": len(content),
            "file-footer-size-in-bytes": footer_size,
            "blob-metadata": blobs,
        }
    )


def _serialised(kind: Any, rows: duckdb.DuckDBPyRelation, column: str) -> Iterator[bytes]:
    from pyiceberg.conversions import to_bytes  # noqa: PLC0415

    name = sql_name(column)
    reader = rows.filter(f"{name} IS NOT NULL").project(name).distinct().to_arrow_reader()
    for batch in reader:
        for value in batch.column(0).to_pylist():
            yield to_bytes(kind, value)
