"""Where a process's time goes: every instant of the main thread belongs to exactly one account.

A span that is opened inside another takes its time away from it, so the accounts add up to the
wall time. Each account also has the processor seconds that all threads used meanwhile, which
other work on the machine hardly changes. Imports that happen while somebody works are found by a
hook, not by guessing.
"""

import functools
import importlib._bootstrap
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Spans:
    """Accounts of the main thread's time, by name; the clock is `time.perf_counter`."""

    def __init__(self, first: str, began: float) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._open = [first]
        self._since = (began, 0.0)

    def _settle(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.seconds[self._open[-1]] += now[0] - self._since[0]
        self.cpu_seconds[self._open[-1]] += now[1] - self._since[1]
        self._since = now

    def then(self, name: str) -> None:
        """End the innermost span; what follows at this level belongs to `name`."""
        self._settle()
        self._open[-1] = name

    def restart(self, name: str) -> None:
        """Forget all accounts and begin anew with `name`."""
        self.seconds.clear()
        self.cpu_seconds.clear()
        self._open = [name]
        self._since = (time.perf_counter(), time.process_time())

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Charge what happens in this block to `name`."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def move(self, seconds: float, source: str, target: str) -> None:
        """Charge seconds that are known otherwise to another account."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def finish(self) -> dict[str, dict[str, float]]:
        """Return every account up to now: wall seconds, and processor seconds."""
        self._settle()
        return {"accounts": dict(self.seconds), "cpu": dict(self.cpu_seconds)}

    def wrap(self, owner: object, name: str, account: str) -> None:
        """Charge a function, a generator or a cached property of `owner` to an account."""
        original = vars(owner)[name]
        if isinstance(original, functools.cached_property):
            self.wrap(original, "func", account)
        elif isinstance(original, classmethod):
            setattr(owner, name, classmethod(self._charged(original.__func__, account)))
        else:
            setattr(owner, name, self._charged(original, account))

    def _charged(self, function: Callable[..., Any], account: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def charged(*arguments: Any, **options: Any) -> Any:
            with self.inside(account):
                result = function(*arguments, **options)
            return self._steps(result, account) if isinstance(result, Iterator) else result

        return charged

    def _steps(self, steps: Iterator[Any], account: str) -> Iterator[Any]:
        while True:
            with self.inside(account):
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step

    def watch_imports(self, account: str, *, during: set[str]) -> None:
        """Charge imports that happen while an account of `during` is innermost."""
        bootstrap: Any = importlib._bootstrap
        original = bootstrap._find_and_load

        def find_and_load(name: str, import_: object) -> Any:
            is_main = threading.current_thread() is threading.main_thread()
            if not is_main or self._open[-1] not in during:
                return original(name, import_)
            with self.inside(account):
                return original(name, import_)

        bootstrap._find_and_load = find_and_load
