"""Hypotheses about values and exchange rates: stale, missing, of another day (B-3)."""

from collections.abc import Iterator

from pipeline_platform.advisory_performance.hypothesis import Hypothesis

_OPENING_BY_THEM = (
    "opening_before + flow_before + theirs_before * (opening_before + weighted_flow_before)"
)
_CLOSING_BY_THEM = (
    "(closing_after - flow_after - theirs_after * weighted_flow_after)"
    " / nullif(1 + theirs_after, 0)"
)
_THEIR_DAY_BEFORE_IS_STALE = (
    "least(abs(theirs_before), abs(theirs_before"
    " + flow_before / nullif(opening_before + weighted_flow_before, 0)))"
    " <= 0.5 * pow(10, -theirs_before_decimals) AND abs(theirs_before) < 0.5"
)


def valuations() -> Iterator[Hypothesis]:
    """Yield the hypotheses about repeated and missing values, on either side."""
    for where, wording, condition, parts in (
        (
            "true",
            "With the value of the day before still standing ({amount})",
            "it repeats values of the day before",
            {"closing": "opening"},
        ),
        (
            "flow <> 0",
            "With the value of the day before plus flows still standing ({amount})",
            "it repeats values of the day before",
            {"closing": "opening + flow"},
        ),
        (
            _THEIR_DAY_BEFORE_IS_STALE,
            "With an opening value that was stale the day before ({amount})",
            "it repeats values of the day before",
            {"opening": _OPENING_BY_THEM, "amount": _OPENING_BY_THEM},
        ),
        (
            "closing_is_repeated",
            "With the value that the next day implies, as the delivered one is a repeat ({amount})",
            "the values that it delivered are repeats of the day before",
            {"closing": _CLOSING_BY_THEM, "amount": _CLOSING_BY_THEM},
        ),
        (
            "opening_is_repeated",
            "With the opening value that it used, as the delivered one is a repeat ({amount})",
            "the values that it delivered are repeats of the day before",
            {"opening": _OPENING_BY_THEM, "amount": _OPENING_BY_THEM},
        ),
    ):
        yield Hypothesis(
            "stale_valuation",
            wording,
            condition,
            where=where,
            **{"amount": "opening", **parts},  # type: ignore[arg-type]
        )
    yield Hypothesis(
        "missing_valuation",
        "With no value for the day before, so that the return spans two days",
        "it had no value for the day before",
        value="(1 + ours) * (1 + ours_before) - 1",
    )
    yield Hypothesis(
        "missing_valuation",
        "With no value for the day before, so that return and flows span two days",
        "it had no value for the day before",
        opening="opening_before",
        flow="flow_before + flow",
        weighted_flow="(flow_before + weighted_flow_before + weighted_flow) / 2",
        where="flow <> 0 OR flow_before <> 0",
    )
    yield Hypothesis(
        "missing_valuation",
        "With the vendor's own returns for the days whose values were not delivered",
        "the values that it did not deliver are taken from its returns",
        opening="opening * growth_in_gap + flow_in_gap"
        " + (growth_in_gap - 1) * weighted_flow_in_gap",
        flow="flow - flow_in_gap",
        weighted_flow="weighted_flow - weighted_flow_in_gap",
    )


def currency_dates() -> Iterator[Hypothesis]:
    """Yield the hypotheses about exchange rates of another day, in both quotations."""
    for quotation, now, before, before_that in (
        ("", "fx_rate", "fx_rate_before", "fx_rate_before_that"),
        (" (inverse quotation)", "1 / fx_rate", "1 / fx_rate_before", "1 / fx_rate_before_that"),
    ):
        closing = f"closing * ({before}) / ({now})"
        opening = f"opening * ({before_that}) / ({before})"
        later = f"opening * ({now}) / ({before})"
        for when, of, parts in (
            ("the day before", "closing", {"closing": closing}),
            ("the day before", "opening", {"opening": opening}),
            ("the day before", "opening and closing", {"opening": opening, "closing": closing}),
            ("the same day", "opening", {"opening": later}),
        ):
            yield Hypothesis(
                "currency_date",
                f"With the {of} value at the exchange rate of {when}{quotation}",
                "its values are translated at the exchange rates of another day",
                where="fx_rate > 0 AND fx_rate_before > 0",
                **parts,  # type: ignore[arg-type]
            )
