"""How a daily figure develops: its slope, and how far the newest day fell below those before."""

from collections.abc import Sequence
from datetime import date
from statistics import fmean, linear_regression

Points = Sequence[tuple[date, float]]
FEWEST_DAYS = 3
"""Two days always lie on a line; a trend needs one more."""


def slope_per_day(points: Points) -> float:
    """Return the slope of the least-squares line through the days, in the figure's unit per day.

    Days may be missing. Raises statistics.StatisticsError for fewer than two days.
    """
    days = [day.toordinal() for day, _ in points]
    return linear_regression(days, [value for _, value in points]).slope


def drop(points: Points) -> float:
    """Return how far the newest day lies below the mean of the earlier ones (negative: above)."""
    ordered = [value for _, value in sorted(points)]
    return fmean(ordered[:-1]) - ordered[-1]
