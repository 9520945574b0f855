"""Quality scores: six dimensions and their weighted mean, 0 to 100, in one pass of DuckDB (SA-13).

A dimension has several parts: the rows of each table that keep the contract's rules of that
dimension, and rates that somebody else measured (expected account-days that came, records that
were not quarantined, files in time, figures that were reconciled). The worst part is the
dimension's score, so that a large table can't hide a small one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import duckdb

from pipeline_platform.quality.contracts import Contract, Expectation
from pipeline_platform.quality.measurements import Measurement
from pipeline_platform.quality.predicates import condition_sql, quoted
from pipeline_platform.quality.thresholds import Dimension

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
UNIQUE = "expect_compound_columns_to_be_unique"


@dataclass(frozen=True)
class Part:
    """A share that belongs to a dimension: how many of how many are as they should be."""

    dimension: Dimension
    name: str
    good: float
    total: float

    @property
    def score(self) -> float | None:
        """The share in percent, or None if there is nothing to count."""
        return 100 * self.good / self.total if self.total else None


@dataclass(frozen=True)
class QualityScore:
    """Scores of 0 to 100; None where nothing could be measured.

    `overall` is the weighted mean of the measured dimensions, or None if those have less than
    half of the weight. `parts` says what each dimension is made of, `row_count` how many rows.
    """

    dimensions: Mapping[Dimension, float | None]
    overall: float | None
    parts: tuple[Part, ...]
    row_count: int

    @property
    def unmeasured(self) -> tuple[Dimension, ...]:
        """The dimensions that could not be measured."""
        return tuple(name for name, score in self.dimensions.items() if score is None)

    def measurement(self, name: str = "data_quality_score") -> Measurement:
        """Return the overall score for judging, with the dimensions; the worst parts offend."""
        reason = None
        if self.overall is None:
            reason = f"too little is known: nothing about {', '.join(self.unmeasured)}"
        imperfect = [part for part in self.parts if part.score is not None and part.score < 100]
        imperfect.sort(key=lambda part: part.score or 0.0)
        return Measurement(
            name,
            self.overall,
            sample_size=self.row_count,
            offenders=tuple(f"{part.name} {part.score:.2f}" for part in imperfect),
            not_measurable_reason=reason,
            parts={name: value for name, value in self.dimensions.items() if value is not None},
        )


def score(
    tables: Sequence[tuple[Contract, duckdb.DuckDBPyRelation]],
    weights: Mapping[Dimension, float],
    *,
    rates: Sequence[Part] = (),
) -> QualityScore:
    """Score tables by their contracts, one pass each, together with measured rates.

    `weights`: share of each dimension, from the runbook; a dimension without one is not scored.
    """
    parts: list[Part] = []
    row_count = 0
    for contract, relation in tables:
        counted, table_parts = _table_parts(contract, relation)
        row_count += counted
        parts += table_parts
    parts += rates
    return combine(parts, weights, row_count=row_count)


def combine(
    parts: Sequence[Part], weights: Mapping[Dimension, float], *, row_count: int
) -> QualityScore:
    """Return the scores that parts add up to (pure; the worst part is a dimension's score)."""
    dimensions: dict[Dimension, float | None] = {}
    for dimension in DIMENSIONS:
        if not weights.get(dimension):
            continue
        scores = [
            part.score for part in parts if part.dimension == dimension and part.score is not None
        ]
        dimensions[dimension] = min(scores) if scores else None
    measured = {name: value for name, value in dimensions.items() if value is not None}
    weight = sum(weights[name] for name in measured)
    overall = None
    if weight * 2 >= sum(weights.values()) and weight > 0:
        overall = sum(weights[name] * value for name, value in measured.items()) / weight
    return QualityScore(dimensions, overall, tuple(parts), row_count)


def _table_parts(contract: Contract, relation: duckdb.DuckDBPyRelation) -> tuple[int, list[Part]]:
    columns = ["count(*)"]
    labels: list[tuple[Dimension, str]] = []
    present = set(relation.columns)
    for dimension in DIMENSIONS:
        rules = [
            expectation.predicate
            for expectation in contract.expectations
            if expectation.dimension == dimension
            and expectation.is_per_row
            and present.issuperset(expectation.columns)
        ]
        if rules:
            columns += [f"count(*) FILTER ({' AND '.join(rules)})", "count(*)"]
            labels.append((dimension, f"{contract.table}: rows that keep the rules"))
    for expectation in contract.expectations:
        if expectation.type == UNIQUE and present.issuperset(expectation.columns):
            columns += _unique_counts(expectation)
            labels.append((expectation.dimension, f"{contract.table}: {expectation.rule}"))
    row = relation.aggregate(", ".join(columns)).fetchone()
    assert row is not None  # noqa: S101 -- an aggregate without groups has one row
    parts = [
        Part(dimension, name, float(row[1 + 2 * place]), float(row[2 + 2 * place]))
        for place, (dimension, name) in enumerate(labels)
    ]
    return int(row[0]), parts


def _unique_counts(expectation: Expectation) -> list[str]:
    """Return how many distinct keys there are, and how many rows: a double costs one row."""
    keys = expectation.kwargs["column_list"]
    fields = ", ".join(f"{quoted(key)} := {quoted(key)}" for key in keys)
    where = condition_sql(expectation.when)
    return [
        f"count(DISTINCT struct_pack({fields})) FILTER ({where})",
        f"count(*) FILTER ({where})",
    ]
