"""What one unit of money grew to between two valuations, with money moving in and out.

One formula serves every timing. Over a sub-period from `opening` to `closing`, in which each flow
F was in the account for the fraction w of the time:

    growth = (closing - sum((1 - w) F)) / (opening + sum(w F))

With w = 1 (start of day) it is MV / (MV_prev + F), with w = 0 (end of day) (MV - F) / MV_prev,
otherwise 1 + Modified Dietz (Dietz 1966). A valuation taken just before a flow ends a sub-period
and opens the next one; sub-periods are linked by multiplication, which is the true time-weighted
return. docs/returns.md gives the definitions and their sources.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MID_DAY = 0.5
"""Share of the day of a flow whose time nobody gave (the assumption of Dietz 1966)."""


@dataclass(frozen=True)
class DatedFlows:
    """External flows, in order of row and time; one element per flow.

    `row` is the account-day whose valuation follows the flow. `remaining` is the time from the
    flow to that valuation in days (1 = start of its day, 0 = its end, more in a gap), `share` the
    part of its own day that is left, `amount` the money that came in (+) or went out (-),
    `value_before` the account's value just before it (NaN = not valued), `is_in_gap` whether
    there is no valuation on the flow's own day.
    """

    row: Integers
    remaining: Floats
    share: Floats
    amount: Floats
    value_before: Floats
    is_in_gap: Mask


@dataclass(frozen=True)
class Growth:
    """Growth per account-day; where `is_measurable` is false, growth means nothing.

    `gross` is NaN where fees are not known. `is_empty` says that no money was at work at all
    (the base is exactly zero); `is_estimated` that a flow's effect rests on an assumption.
    """

    net: Floats
    gross: Floats
    is_measurable: Mask
    is_empty: Mask
    is_estimated: Mask


def growth_of(
    opening: Floats, closing: Floats, fees: Floats, elapsed: Floats, flows: DatedFlows
) -> Growth:
    """Return the growth of every account-day from its previous valuation.

    `opening` is the value at the previous valuation (0 = none), `closing` the day's market value
    after fees, `fees` what was taken from it that day (NaN = unknown), `elapsed` the days between
    the two valuations. The unit of money is any, the same for all.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = Growth(
            net=closing / opening,
            gross=(closing + fees) / opening,
            is_measurable=opening > 0,
            is_empty=opening == 0,
            is_estimated=np.zeros(len(opening), np.bool_),
        )
        if len(flows.row):
            rows, first = np.unique(flows.row, return_index=True)
            with_flows = _growth_with_flows(
                opening=opening[rows],
                closing=closing[rows],
                fees=fees[rows],
                elapsed=elapsed[rows],
                first_flow=first,
                flows=flows,
            )
            growth.net[rows] = with_flows.net
            growth.gross[rows] = with_flows.gross
            growth.is_measurable[rows] = with_flows.is_measurable
            growth.is_empty[rows] = with_flows.is_empty
            growth.is_estimated[rows] = with_flows.is_estimated
    return growth


def _growth_with_flows(
    *,
    opening: Floats,
    closing: Floats,
    fees: Floats,
    elapsed: Floats,
    first_flow: Integers,
    flows: DatedFlows,
) -> Growth:
    """Growth of days that have flows: `first_flow` is where each day's flows begin."""
    day_count, flow_count = len(opening), len(flows.row)
    day = np.repeat(np.arange(day_count), np.diff(np.append(first_flow, flow_count)))
    # Nothing can be split off before there is money: such a valuation is left out of account.
    is_split = ~np.isnan(flows.value_before) & (opening > 0)[day]
    split_count = np.cumsum(is_split)
    # Each day has one sub-period more than splits; a split flow opens the next sub-period.
    period = day + split_count
    first_period = np.arange(day_count) + np.append(0, split_count)[first_flow]
    period_count = day_count + int(split_count[-1])
    last_period = np.append(first_period[1:], period_count) - 1
    opened = period[is_split]

    value_at_start = np.empty(period_count)
    value_at_start[first_period] = opening
    value_at_start[opened] = (flows.value_before + flows.amount)[is_split]
    value_at_end = np.empty(period_count)
    value_at_end[last_period] = closing
    value_at_end[opened - 1] = flows.value_before[is_split]
    starts = np.empty(period_count)
    starts[first_period] = elapsed
    starts[opened] = flows.remaining[is_split]
    ends = np.zeros(period_count)
    ends[opened - 1] = flows.remaining[is_split]

    is_plain = ~is_split
    in_period, amount = period[is_plain], flows.amount[is_plain]
    is_in_gap = flows.is_in_gap[is_plain]
    has_gap_flow = np.bincount(in_period, is_in_gap, period_count) > 0
    # Days without any valuation or flow (weekends) don't dilute a flow of the valuation day.
    starts = np.where(has_gap_flow, starts, np.minimum(starts, 1.0))
    length = (starts - ends)[in_period]
    weight = (flows.remaining[is_plain] - ends[in_period]) / length
    weight = np.where(length > 0, np.clip(weight, 0.0, 1.0), flows.share[is_plain])

    base = value_at_start + np.bincount(in_period, weight * amount, period_count)
    result = value_at_end - np.bincount(in_period, (1.0 - weight) * amount, period_count)
    net = result / base
    gross = net.copy()
    gross[last_period] = (result[last_period] + fees) / base[last_period]

    is_assumed = is_in_gap | ((weight > 0) & (weight < 1))
    at_start = np.where((flows.share == 1) & ~flows.is_in_gap, flows.amount, 0.0)
    opens_within = (opening + np.bincount(day, at_start, day_count) > 0) & (
        np.bincount(day, flows.is_in_gap, day_count) == 0
    )
    return Growth(
        net=np.multiply.reduceat(net, first_period),
        gross=np.multiply.reduceat(gross, first_period),
        is_measurable=np.logical_and.reduceat(base > 0, first_period)
        & ((opening > 0) | opens_within),
        is_empty=(first_period == last_period) & (base[first_period] == 0),
        is_estimated=np.bincount(day[is_plain], is_assumed, day_count) > 0,
    )
