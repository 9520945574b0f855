"""The closed list of hypotheses that are tried on every breach (B-3)."""

from collections.abc import Iterator

from pipeline_platform.advisory_performance.hypotheses_of_flows import flow_amounts, flow_dates
from pipeline_platform.advisory_performance.hypotheses_of_valuations import (
    currency_dates,
    valuations,
)
from pipeline_platform.advisory_performance.hypothesis import Hypothesis


def figures() -> Iterator[Hypothesis]:
    """Yield the hypotheses about how a finished return was written down."""
    for verb, value in (
        ("rounded to", "round(ours, used_decimals)"),
        ("cut off at", "trunc(ours * pow(10, used_decimals)) / pow(10, used_decimals)"),
    ):
        yield Hypothesis(
            "rounding",
            f"With our return {verb} the vendor's decimals",
            f"our returns are {verb} its decimals",
            source="figure",
            value=value,
            where="used_decimals >= 2",
        )
    for action, factor in (
        ("multiplied by 100", 100),
        ("divided by 100", 0.01),
        ("multiplied by 10,000", 10_000),
        ("divided by 10,000", 0.0001),
    ):
        yield Hypothesis(
            "return_unit",
            f"With our return {action}",
            f"our returns are {action}, so its unit is another one than its mapping says",
            source="figure",
            value=f"ours * {factor}",
        )
    yield Hypothesis(
        "return_sign",
        "With the sign of our return reversed",
        "the sign of its returns is reversed",
        source="figure",
        value="-ours",
    )
    for basis, other in (("net", "gross"), ("gross", "net")):
        yield Hypothesis(
            "gross_net",
            f"With our {other} return in place of the {basis} one",
            f"the returns that it calls {basis} of fees are {other}",
            source="figure",
            value="other_basis",
            where=f"basis = '{basis}'",
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *figures(),
    *flow_dates(),
    *flow_amounts(),
    *valuations(),
    *currency_dates(),
)
"""All hypotheses; a position in this tuple is a hypothesis' number."""
