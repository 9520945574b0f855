"""Items are made ahead in their order, and what fails is raised in its place."""

from collections.abc import Iterator
from threading import Event

import pytest

from pipeline_platform.ahead import ahead


def test_items_come_in_their_order() -> None:
    assert [*ahead(iter(range(100)))] == [*range(100)]


def test_the_next_items_are_made_while_one_is_used() -> None:
    is_made = Event()

    def items() -> Iterator[int]:
        yield 1
        is_made.set()
        yield 2

    assert next(ahead(items())) == 1
    assert is_made.wait(5)


def test_a_failure_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("The source broke.")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="The source broke"):
        next(found)


def test_no_more_is_made_than_may_wait() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    found = ahead(items(), 3)
    next(found)
    found.close()
    assert len(made) <= 5
