"""One answer for all who ask at the same time: costly readings are made once and kept for a bit."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Calls `read` at most once in `seconds`; who asks meanwhile waits for the same answer."""

    def __init__(
        self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def get(self) -> T:
        """Return the answer, read anew if it is older than it may be; an error is not kept."""
        kept = self._kept
        if kept is not None and self._clock() - kept[0] < self._seconds:
            return kept[1]
        with self._lock:
            kept = self._kept
            if kept is None or self._clock() - kept[0] >= self._seconds:
                kept = (self._clock(), self._read())
                self._kept = kept
        return kept[1]
