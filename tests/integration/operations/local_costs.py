"""AWS Cost Explorer on a local server (moto), over real HTTP: what it answers is queued there."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from pipeline_platform.operations.cost_readings import cost_measures
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.run_context import RunContext
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services

Costs = Mapping[date, Mapping[str, str]]
"""Amounts by day and service, as texts of decimals."""


def results_by_time(costs: Costs, *, currency: str = "USD") -> list[dict[str, Any]]:
    """Return costs as `ResultsByTime` holds them."""
    return [
        {
            "TimePeriod": {"Start": str(day), "End": str(day + timedelta(days=1))},
            "Total": {},
            "Groups": [
                {
                    "Keys": [service],
                    "Metrics": {"BlendedCost": {"Amount": amount, "Unit": currency}},
                }
                for service, amount in services.items()
            ],
            "Estimated": True,
        }
        for day, services in costs.items()
    ]


def steady(last: date, days: int, **services: str) -> dict[date, dict[str, str]]:
    """Return the same costs for so many days up to `last`."""
    return {last - timedelta(days=back): dict(services) for back in reversed(range(days))}


def judged(
    runbook: Runbook, services: Services, name: str, now: datetime
) -> tuple[Measurement, Verdict]:
    """Measure one of a runbook's rules on cost, and judge it."""
    scope = Scope(RunContext(services, "check", clock=lambda: now, runbook=runbook), ())
    return measure(scope, runbook.thresholds[name], cost_measures(runbook))


class LocalCosts:
    """The server: forgets everything, or answers the next requests with these pages."""

    def __init__(self, address: str) -> None:
        self.address = address

    def forget(self) -> None:
        """Forget all answers, also those already given."""
        self._post("/moto-api/reset", b"")

    def refuse_unknown_credentials(self) -> None:
        """Check credentials and permissions from now on; moto has no users until some are made."""
        self._post("/moto-api/reset-auth", b"0")

    def accept_everybody(self) -> None:
        """Check no credentials any more."""
        self._post("/moto-api/reset-auth", b"inf")

    def answer(self, *pages: Sequence[Mapping[str, Any]]) -> None:
        """Answer the next requests with these pages, each but the last naming a next one."""
        results = [
            {
                "ResultsByTime": list(page),
                **({"NextPageToken": f"page {number}"} if number < len(pages) else {}),
            }
            for number, page in enumerate(pages, start=1)
        ]
        self._post(
            "/moto-api/static/ce/cost-and-usage-results", json.dumps({"results": results}).encode()
        )

    def _post(self, path: str, body: bytes) -> None:
        request = urllib.request.Request(
            self.address + path, body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request):
            pass
