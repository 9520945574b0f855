"""Work done ahead by a thread, while what came before is still used."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """Yield items that one thread makes, at most `count` before they are asked for.

    What fails is raised in the place of its item. Closed early, the thread ends with the item that
    it is at.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        made = deque(thread.submit(next, items, _END) for _ in range(count))
        while (item := made.popleft().result()) is not _END:
            made.append(thread.submit(next, items, _END))
            yield item
