"""DuckDB relations as names that a query can use."""

from itertools import count

from duckdb import DuckDBPyRelation

_NUMBERS = count(1)


def unique_name(purpose: str) -> str:
    """Return a name that no other view or table of this process has."""
    return f"{purpose}_{next(_NUMBERS)}"


def as_view(relation: DuckDBPyRelation, purpose: str = "input") -> str:
    """Give the relation a name of its own, for use in SQL, and return that name.

    The view lives as long as the relation's connection and copies nothing.
    """
    name = unique_name(purpose)
    relation.create_view(name)
    return name
