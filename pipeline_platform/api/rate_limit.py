"""How often one client may ask: a bucket of requests that refills steadily."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

MOST_CLIENTS = 10_000
"""So many are remembered; who has not asked for longest is forgotten first."""


class RateLimit:
    """Lets each client ask `per_minute` times a minute, and a second's worth or more at once."""

    def __init__(
        self, per_minute: int, *, burst: int | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst if burst is not None else max(10, per_minute // 10))
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def seconds_to_wait(self, client: str) -> float:
        """Take one request from a client's bucket; return 0, or how long to wait for the next."""
        now = self._clock()
        with self._lock:
            left, since = self._left.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._per_second)
            is_allowed = left >= 1
            self._left[client] = (left - 1 if is_allowed else left, now)
            if len(self._left) > MOST_CLIENTS:
                self._left.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) / self._per_second
