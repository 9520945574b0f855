"""What a hypothesis about a difference between a vendor's return and ours is (B-3).

Every hypothesis is one row of data. A *figure* hypothesis changes the finished return of any
period (unit, sign, rounding, basis). A *day* or *flow* hypothesis recomputes one day by Modified
Dietz with another opening value, closing value or flow:

    return = (closing - opening - flows) / (opening + weighted flows)

which is the exact daily time-weighted return when flows come at the start (weight 1) or the end
(weight 0) of the day (docs/returns.md). `fx_rate` is taken as the
rate by which the day's value was translated; both ways of quoting it are tried.

The SQL may use the columns of `day_facts.py`: those of the day, of the account's day before
(`..._before`) and after (`..._after`), the vendor's daily figures (`theirs`), and, for one flow,
`amount`, `weight` and `same_count`.
"""

from dataclasses import dataclass
from typing import Literal

CAUSES = (
    "rounding",
    "return_unit",
    "return_sign",
    "gross_net",
    "flow_timing",
    "settlement_date",
    "flow_sign",
    "doubled_flow",
    "omitted_flow",
    "stale_valuation",
    "missing_valuation",
    "currency_date",
)
"""Order of preference: a slip of the pen, then the basis, then a flow, then a valuation."""

UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Hypothesis:
    """One possible cause, how it is recomputed and how it is said.

    `wording` begins the explanation, where {amount} is filled in; `condition` ends "breaches of
    the vendor vanish if ...". `source` says what it is tried on: finished figures, account-days
    or single flows. `contradicted_by` is another day whose vendor figure would differ too if the
    hypothesis were true. `must_be_exact` asks for a match to the vendor's last decimal.
    `is_systematic`: may be tried on all days of a longer period at once. `penalty` moves it
    behind its cause's place in the order of preference.
    """

    cause: str
    wording: str
    condition: str
    source: Literal["figure", "day", "flow"] = "day"
    value: str = ""
    opening: str = "opening"
    closing: str = "closing"
    flow: str = "flow"
    weighted_flow: str = "weighted_flow"
    where: str = "true"
    amount: str = "flow"
    contradicted_by: str = "NULL"
    must_be_exact: bool = False
    is_systematic: bool = False
    penalty: int = 0

    @property
    def rank(self) -> int:
        """Place in the order of preference; the lower is preferred."""
        return CAUSES.index(self.cause) + self.penalty

    @property
    def fixed_wording(self) -> str:
        """The beginning that all explanations by this hypothesis share."""
        return self.wording.partition("{")[0]

    def value_sql(self) -> str:
        """Return the hypothetical return as SQL; NULL where it can't be computed."""
        if self.value:
            return self.value
        gain = f"({self.closing}) - ({self.opening}) - ({self.flow})"
        return f"({gain}) / nullif(({self.opening}) + ({self.weighted_flow}), 0)"
