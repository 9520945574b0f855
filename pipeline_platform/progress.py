"""How far long work is: loops tell it, and whoever shows it listens; nobody has to.

A loop that may take long goes over `tracked(items, "files")`. The command line shows a bar for it;
a run of Dagster or a test, which set no listener, pay nothing.
"""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Listener(Protocol):
    """What shows progress: a piece of work begins, gets on and ends; pieces may be nested."""

    def begin(self, what: str, total: int | None) -> int:
        """Start a piece of work of `total` parts (None = unknown); return its number."""

    def advance(self, number: int, count: int = 1) -> None:
        """Say that so many more parts are done."""

    def end(self, number: int) -> None:
        """Say that a piece is over, well or not."""


_LISTENER: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


def listener() -> Listener | None:
    """Return who listens now, if anybody does."""
    return _LISTENER.get()


@contextmanager
def listening(found: Listener) -> Iterator[None]:
    """Have a listener told of everything within the block."""
    token = _LISTENER.set(found)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tracked(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Go over items and tell how many are done; one is done when the next is asked for."""
    found = _LISTENER.get()
    if found is None:
        yield from items
        return
    known = len(items) if total is None and isinstance(items, Sized) else total
    number = found.begin(what, known)
    try:
        for item in items:
            yield item
            found.advance(number)
    finally:
        found.end(number)
