"""A Kinesis server for one test, spoken to over real HTTP, that does what moto's does not.

It closes and splits shards as Kinesis does (moto moves a split shard's records), ends a closed
shard without a next iterator, lets iterators expire, throttles, and cuts pages short.
"""

import base64
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SPACE = 2**128


@dataclass
class LocalShard:
    name: str
    first_key: int
    last_key: int
    parents: tuple[str, ...] = ()
    records: list[tuple[int, float, bytes, str]] = field(default_factory=list)
    closed_at: int | None = None


class LocalKinesis:
    """One stream; `errors` are the codes that the next GetRecords calls fail with.

    With `retention_hours` None its description may not be read.
    """

    def __init__(self, stream: str, shards: int = 1) -> None:
        self.stream = stream
        self.shards: dict[str, LocalShard] = {}
        self.errors: list[str] = []
        self.expired: set[str] = set()
        self.calls: list[str] = []
        self.page_records = 10_000
        self.retention_hours: int | None = 24
        self._next = 49590338271490256608559692538361571095921575989136588898
        self._iterators: dict[str, tuple[str, int]] = {}
        self._lock = threading.RLock()
        for number in range(shards):
            self._add(number * SPACE // shards, (number + 1) * SPACE // shards - 1)

    def put(self, data: bytes, key: str = "key", shard: str | None = None) -> str:
        """Put a record into the open shard of its key (or a named one); return its number."""
        with self._lock:
            place = int(hashlib.md5(key.encode()).hexdigest(), 16)
            target = self.shards[shard] if shard else self._open_shard(place)
            target.records.append((self._number(), time.time(), data, key))
            return str(target.records[-1][0])

    def split(self, shard: str) -> None:
        """Close a shard; two new ones take its place. Its records stay where they are."""
        with self._lock:
            parent = self.shards[shard]
            middle = (parent.first_key + parent.last_key) // 2
            parent.closed_at = self._number()
            self._add(parent.first_key, middle, (shard,))
            self._add(middle + 1, parent.last_key, (shard,))

    def merge(self, first: str, second: str) -> None:
        """Close two adjacent shards; one new one takes their place."""
        with self._lock:
            for name in (first, second):
                self.shards[name].closed_at = self._number()
            keys = [self.shards[first].first_key, self.shards[second].last_key]
            self._add(min(keys), max(keys), (first, second))

    def forget(self, shard: str) -> None:
        """Let a shard's retention pass: the stream lists it no longer."""
        del self.shards[shard]

    def expire_iterators(self) -> None:
        """Let five minutes pass for every iterator that was handed out."""
        self.expired.update(self._iterators)

    def __enter__(self) -> Self:
        stream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: a second one waits 40 ms for the first

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(length))
                status, answer = stream.answer(self.headers["X-Amz-Target"], request)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, target: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        call = target.partition(".")[2]
        with self._lock:
            self.calls.append(call)
            if request.get("StreamName", self.stream) != self.stream:
                return _error("ResourceNotFoundException")
            return getattr(self, f"_{call}")(request)

    def _DescribeStreamSummary(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.retention_hours is None:
            return _error("AccessDeniedException")
        return 200, {"StreamDescriptionSummary": {"RetentionPeriodHours": self.retention_hours}}

    def _ListShards(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        names = sorted(self.shards)
        begin = int(request.get("NextToken", 0))
        page = [self._described(self.shards[name]) for name in names[begin : begin + 2]]
        following = {"NextToken": str(begin + 2)} if begin + 2 < len(names) else {}
        return 200, {"Shards": page, **following}

    def _GetShardIterator(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        shard = self.shards[request["ShardId"]]
        kind = request["ShardIteratorType"]
        after = 0
        if kind == "AFTER_SEQUENCE_NUMBER":
            after = int(request["StartingSequenceNumber"])
            if after >= self._next:
                return _error("InvalidArgumentException")
        if kind == "AT_TIMESTAMP":
            earlier = [record[0] for record in shard.records if record[1] < request["Timestamp"]]
            after = max(earlier, default=0)
        return 200, {"ShardIterator": self._iterator(shard.name, after)}

    def _GetRecords(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.errors:
            return _error(self.errors.pop(0))
        given = request["ShardIterator"]
        if given in self.expired:
            return _error("ExpiredIteratorException")
        name, after = self._iterators[given]
        shard = self.shards[name]
        rest = [record for record in shard.records if record[0] > after]
        page = rest[: min(request["Limit"], self.page_records)]
        left = rest[len(page) :]
        answer: dict[str, Any] = {
            "Records": [
                {
                    "SequenceNumber": str(number),
                    "ApproximateArrivalTimestamp": arrived,
                    "Data": base64.b64encode(data).decode(),
                    "PartitionKey": key,
                }
                for number, arrived, data, key in page
            ],
            "MillisBehindLatest": int((time.time() - left[0][1]) * 1000) + 1 if left else 0,
        }
        if left or shard.closed_at is None:
            last = page[-1][0] if page else after
            answer["NextShardIterator"] = self._iterator(name, last)
        return 200, answer

    def _iterator(self, shard: str, after: int) -> str:
        text = f"{shard}:{after}:{self._number()}"
        self._iterators[text] = (shard, after)
        return text

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _add(self, first_key: int, last_key: int, parents: tuple[str, ...] = ()) -> None:
        name = f"shardId-{len(self.shards):012}"
        self.shards[name] = LocalShard(name, first_key, last_key, parents)

    def _open_shard(self, place: int) -> LocalShard:
        return next(
            shard
            for shard in self.shards.values()
            if shard.closed_at is None and shard.first_key <= place <= shard.last_key
        )

    def _described(self, shard: LocalShard) -> dict[str, Any]:
        numbers = {"StartingSequenceNumber": "0"}
        if shard.closed_at is not None:
            numbers["EndingSequenceNumber"] = str(shard.closed_at)
        parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
        return {
            "ShardId": shard.name,
            "HashKeyRange": {
                "StartingHashKey": str(shard.first_key),
                "EndingHashKey": str(shard.last_key),
            },
            "SequenceNumberRange": numbers,
            **parents,
        }


def _error(code: str) -> tuple[int, dict[str, Any]]:
    return 400, {"__type": code, "message": code}
