"""Hypotheses about external flows: when they count, which way, and how often (B-3)."""

from collections.abc import Iterator

from pipeline_platform.advisory_performance.hypothesis import CAUSES, Hypothesis


def flow_dates() -> Iterator[Hypothesis]:
    """Yield the hypotheses about the time of flows: within the day, and on which day."""
    for time, weight in (("start", "1"), ("end", "0"), ("middle", "0.5")):
        yield Hypothesis(
            "flow_timing",
            f"With all flows at the {time} of the day ({{amount}})",
            f"its flows are at the {time} of the day",
            weighted_flow=f"flow * {weight}",
            where="flow_count > 0",
            is_systematic=True,
        )
        yield Hypothesis(
            "flow_timing",
            f"With one of the flows at the {time} of the day ({{amount}})",
            f"one of several flows is at the {time} of the day",
            source="flow",
            weighted_flow=f"weighted_flow - amount * weight + amount * {weight}",
            where="is_booked AND flow_count > 1",
            amount="amount",
        )
    yield Hypothesis(
        "settlement_date",
        "With flows counted on their settlement date ({amount} moved)",
        "its flows count on their settlement date",
        flow="flow - moved_out + moved_in",
        weighted_flow="weighted_flow - weighted_moved_out + weighted_moved_in",
        where="is_moved",
        amount="moved_in - moved_out",
        contradicted_by="other_moved_day",
        is_systematic=True,
    )
    for sign, where in (("-", "is_booked"), ("+", "is_settled")):
        yield Hypothesis(
            "settlement_date",
            "With one of the flows counted on its settlement date ({amount})",
            "its flows count on their settlement date",
            source="flow",
            flow=f"flow {sign} amount",
            weighted_flow=f"weighted_flow {sign} amount * weight",
            where=f"is_moved_flow AND {where}",
            amount="amount",
            contradicted_by="other_flow_day",
        )


def flow_amounts() -> Iterator[Hypothesis]:
    """Yield the hypotheses about the amounts of flows: sign, twice, not at all."""
    yield Hypothesis(
        "doubled_flow",
        "With a flow that was delivered more than once counted once ({amount})",
        "flows that were delivered more than once count once",
        source="flow",
        flow="flow - amount * (same_count - 1)",
        weighted_flow="weighted_flow - amount * weight * (same_count - 1)",
        where="is_booked AND same_count > 1",
        amount="amount",
    )
    for cause, factor, wording, condition in (
        (
            "flow_sign",
            -1,
            "With the sign of {} reversed ({{amount}})",
            "the sign of {} is reversed",
        ),
        ("doubled_flow", 2, "With {} counted twice ({{amount}})", "{} count twice"),
        ("omitted_flow", 0, "Without {} ({{amount}})", "{} are left out"),
    ):
        yield Hypothesis(
            cause,
            wording.format("all flows"),
            condition.format("the day's flows"),
            flow=f"flow * {factor}",
            weighted_flow=f"weighted_flow * {factor}",
            where="flow_count > 0",
            is_systematic=True,
        )
        yield Hypothesis(
            cause,
            wording.format("one of the flows"),
            condition.replace("are", "is").replace("count", "counts").format("one of the flows"),
            source="flow",
            flow=f"flow + amount * {factor - 1}",
            weighted_flow=f"weighted_flow + amount * weight * {factor - 1}",
            where="is_booked AND flow_count > 1",
            amount="amount",
        )
    for time, weight in (("start", 1), ("end", 0)):
        # The vendor's figure implies a flow that nobody delivered: believed only if the amount
        # is so round that chance would hit it once in a thousand times, and only as a last resort.
        missing = (
            "(closing - opening - flow - theirs * (opening + weighted_flow))"
            f" / nullif(1 + {weight} * theirs, 0)"
        )
        unit = (
            "pow(10, greatest(2, ceil(log10("
            "1000 * pow(10, -theirs_decimals) * greatest(abs(opening), 1)))))"
        )
        implied = f"(round(({missing}) / {unit}) * {unit})"
        yield Hypothesis(
            "omitted_flow",
            f"With a flow at the {time} of the day that was not delivered ({{amount}})",
            "flows that it did not deliver are added",
            flow=f"flow + {implied}",
            weighted_flow=f"weighted_flow + {weight} * {implied}",
            where=f"{implied} <> 0",
            amount=implied,
            must_be_exact=True,
            penalty=len(CAUSES),
        )
