"""Work done ahead by a thread, while what came before is still used."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], count: int = 2) -> Generator[Item]:
    """Yield items (never None) that one thread makes, at most `count` before they are asked for.

    What fails is raised in the place of its item. Closed early, the thread ends with the item that
    it is at.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        made = deque(thread.submit(next, items, None) for _ in range(count))
        while (item := made.popleft().result()) is not None:
            made.append(thread.submit(next, items, None))
            yield item
