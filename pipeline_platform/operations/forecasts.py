"""Forecasts whose interval keeps what it says, and the day on which a limit is crossed; pure.

A daily series is a trend, a pattern that repeats each period (the week), a level that wanders and
noise: y = X b + w + e, where w is a random walk with q times the noise's variance. For each q of a
grid b follows by generalised least squares, and the restricted likelihood says how well q fits
(Harville 1977); the forecasts of all q are mixed by it, not only the best one's taken. So a series
that wanders gets an interval that widens, and one that only scatters gets a narrow one. It is
kriging with a trend (Cressie 1993, section 3.4) of a local level model (Harvey 1989, section 2.3).

Paths are drawn from that mixture, with the noise's variance drawn too. Quantiles of the paths are
the interval, and each path's first day at the limit tells when it is crossed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["multiplicative", "additive"]
Floats = NDArray[np.float64]
WEEK = 7
PATHS = 2_000
LONGEST_HISTORY = 400
"""Days that are looked at; a level that wanders has forgotten what was before."""
INTERVAL = 0.9
SEED = 20_150_517
_WANDERING = np.concatenate([[0.0], np.logspace(-4, 1.5, 12)])
_LEAST_WEIGHT = 1e-3
_LARGEST_EXPONENT = 60.0


@dataclass(frozen=True)
class Series:
    """Observed values by day, oldest first; days may be missing.

    `scale`: multiplicative for what grows in proportion (events a day), additive for what piles
    up (bytes). `unit` is that of the values.
    """

    name: str
    title: str
    unit: str
    days: tuple[date, ...]
    values: tuple[float, ...]
    scale: Scale


@dataclass(frozen=True)
class Forecast:
    """Median and 90 % interval for each day after the series' last one, and the paths behind.

    `paths` has a row per path and a column per day.
    """

    days: tuple[date, ...]
    median: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    paths: Floats


@dataclass(frozen=True)
class Crossing:
    """When a series reaches a limit: by `median` half of the paths have, and the interval.

    A date is None where it lies beyond the forecast; `probability` is the share of the paths that
    reach the limit within it.
    """

    limit: float
    probability: float
    earliest: date | None
    median: date | None
    latest: date | None


def not_forecastable_reason(
    series: Series, today: date, *, minimum_days: int, oldest_days: int
) -> str | None:
    """Say why a series can't be forecast, or None: too short, too old, or mostly missing."""
    if not series.days:
        return "nothing was observed yet"
    if len(series.days) < minimum_days:
        count = len(series.days)
        observed = "1 day was" if count == 1 else f"{count} days were"
        return f"{observed} observed, at least {minimum_days} are needed"
    age = (today - series.days[-1]).days
    if age > oldest_days:
        return f"the last observed day is {series.days[-1]}, {age} days ago"
    missing = (series.days[-1] - series.days[0]).days + 1 - len(series.days)
    if missing > len(series.days):
        return f"{missing} of the days since {series.days[0]} are missing"
    return None


def forecast(series: Series, horizon_days: int) -> Forecast:
    """Forecast the days after the series' last one; the same series gives the same forecast."""
    first, last = series.days[0], series.days[-1]
    at = np.array([(day - first).days for day in series.days])
    values = np.array(series.values, dtype=float)
    logarithmic = series.scale == "multiplicative"
    seen = np.log1p(values) if logarithmic else values
    ahead = np.arange(1, horizon_days + 1) + at[-1]
    paths = draw_paths(at, seen, ahead, period=WEEK)
    if logarithmic:
        paths = np.expm1(np.minimum(paths, _LARGEST_EXPONENT))
    paths = np.maximum(paths, 0.0)
    tail = (1 - INTERVAL) / 2
    lower, median, upper = np.quantile(paths, [tail, 0.5, 1 - tail], axis=0)
    days = tuple(last + timedelta(days=number + 1) for number in range(horizon_days))
    return Forecast(days, tuple(median), tuple(lower), tuple(upper), paths)


def crossing(made: Forecast, limit: float) -> Crossing:
    """Return when the paths of a forecast first reach a limit."""
    reached = made.paths >= limit
    crossed_by = np.maximum.accumulate(reached, axis=1).mean(axis=0)
    tail = (1 - INTERVAL) / 2

    def day_of(share: float) -> date | None:
        found = np.flatnonzero(crossed_by >= share)
        return made.days[found[0]] if len(found) else None

    return Crossing(limit, float(crossed_by[-1]), day_of(tail), day_of(0.5), day_of(1 - tail))


def draw_paths(
    at: NDArray[np.int64],
    values: Floats,
    ahead: NDArray[np.int64],
    *,
    period: int,
    count: int = PATHS,
) -> Floats:
    """Draw paths of the times `ahead` given values at the times `at` (whole steps, ascending).

    The repeating pattern is left out where fewer than two periods were seen.
    """
    at, values = at[-LONGEST_HISTORY:], values[-LONGEST_HISTORY:]
    generator = np.random.default_rng(SEED)
    spread = float(np.std(values)) or max(1.0, abs(float(values[0]))) * 1e-9
    centre = float(np.mean(values))
    known = _Known(at - at[0], (values - centre) / spread, ahead - at[0], period)
    fits = [known.fit(wandering) for wandering in _WANDERING]
    likelihood = np.array([fit.log_likelihood for fit in fits])
    weight = np.exp(likelihood - likelihood.max())
    weight[weight < _LEAST_WEIGHT * weight.sum()] = 0.0
    shares = generator.multinomial(count, weight / weight.sum())
    drawn = [
        fit.draw(generator, int(share)) for fit, share in zip(fits, shares, strict=True) if share
    ]
    return np.concatenate(drawn) * spread + centre


@dataclass(frozen=True)
class _Fit:
    """What one strength of wandering says of the days ahead."""

    log_likelihood: float
    mean: Floats
    root: Floats
    squares: float
    degrees: int

    def draw(self, generator: np.random.Generator, count: int) -> Floats:
        variance = self.squares / generator.chisquare(self.degrees, count)
        noise = generator.standard_normal((count, len(self.mean))) @ self.root.T
        drawn: Floats = self.mean + np.sqrt(variance)[:, None] * noise
        return drawn


@dataclass(frozen=True)
class _Known:
    """The observed times and values, and the times ahead; all counted from the first one."""

    at: NDArray[np.int64]
    values: Floats
    ahead: NDArray[np.int64]
    period: int

    def design(self, times: NDArray[np.int64]) -> Floats:
        """Return the columns of level, trend and pattern."""
        columns = [np.ones(len(times)), times / max(1, self.at[-1])]
        if self.at[-1] >= 2 * self.period and len(self.at) > 2 * self.period:
            place = times % self.period
            columns += [(place == step) - 1 / self.period for step in range(1, self.period)]
        return np.column_stack(columns).astype(float)

    def fit(self, wandering: float) -> _Fit:
        """Fit level, trend and pattern, and predict, for one ratio of the two variances."""
        walk = wandering * np.minimum.outer(self.at, self.at)
        across = wandering * np.minimum.outer(self.ahead, self.at)
        beyond = wandering * np.minimum.outer(self.ahead, self.ahead)
        root = np.linalg.cholesky(np.eye(len(self.at)) + walk)
        design = np.linalg.solve(root, self.design(self.at))
        values = np.linalg.solve(root, self.values)
        orthogonal, triangle = np.linalg.qr(design)
        coefficients = np.linalg.solve(triangle, orthogonal.T @ values)
        residuals = values - design @ coefficients
        degrees = len(values) - design.shape[1]
        squares = max(float(residuals @ residuals), 1e-12)
        log_likelihood = -0.5 * (
            degrees * np.log(squares)
            + 2 * np.log(np.diag(root)).sum()
            + 2 * np.log(np.abs(np.diag(triangle))).sum()
        )
        weights = np.linalg.solve(root, across.T)
        unseen = self.design(self.ahead) - weights.T @ design
        mean = self.design(self.ahead) @ coefficients + weights.T @ residuals
        uncertain = np.linalg.solve(triangle.T, unseen.T)
        covariance = np.eye(len(self.ahead)) + beyond - weights.T @ weights
        covariance += uncertain.T @ uncertain
        return _Fit(float(log_likelihood), mean, np.linalg.cholesky(covariance), squares, degrees)


def coverage(values: Sequence[float], *, period: int, first: int, horizon: int) -> float:
    """Return the share of a series' values that earlier forecasts' intervals hold.

    From each point from `first` on the next `horizon` values are forecast from those before it;
    the series must be on the scale on which it is forecast.
    """
    series = np.array(values, dtype=float)
    tail = (1 - INTERVAL) / 2
    inside = []
    for origin in range(first, len(series) - horizon + 1):
        ahead = np.arange(origin, origin + horizon)
        paths = draw_paths(np.arange(origin), series[:origin], ahead, period=period, count=500)
        lower, upper = np.quantile(paths, [tail, 1 - tail], axis=0)
        actual = series[origin : origin + horizon]
        inside.append((lower <= actual) & (actual <= upper))
    return float(np.mean(inside))
