"""What the platform itself shows as assets: cost by day and service, and every pipeline's pages."""

from datetime import timedelta
from typing import Any

import dagster as dg

from pipeline_platform.operations.cost import DayCost
from pipeline_platform.operations.cost_readings import Reading, read_costs, stored_costs
from pipeline_platform.operations.plan import operations_plan, runbooks
from pipeline_platform.operations.reports.catalog import REPORTS
from pipeline_platform.operations.security_assets import security_review
from pipeline_platform.orchestration.mutations import mutations_asset
from pipeline_platform.orchestration.reports import page_asset
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now

GROUP = operations_plan().pipeline
DAILY_COST = dg.AssetKey([GROUP, "cost", "daily_cost"])
SHOWN_SERVICES = 15


@dg.observable_source_asset(
    key=DAILY_COST,
    group_name=GROUP,
    description="Blended cost by day and service, as the AWS Cost Explorer tells it (SW-9, SA-49).",
)
def daily_cost(context: dg.OpExecutionContext, services: ServicesParam) -> dg.ObserveResult:
    """Read the cost of the last days and keep it; a refusal is an observation, never a figure.

    Observed and not materialized: without access nothing of it may look made (B-14).
    """
    reading = read_costs(services, utc_now(), context.run.run_id)
    if not reading.is_read:
        context.log.warning(f"Cost is not measurable: {reading.reason}")
        return dg.ObserveResult(metadata={"outcome": "not measurable", "reason": reading.reason})
    settled_date = reading.read_at.date() - timedelta(
        days=operations_plan().cost.settled_after_days
    )
    with services.database.connection() as connection:
        (day,) = stored_costs(connection, settled_date, settled_date)
    return dg.ObserveResult(metadata=_metadata(reading, day))


ASSETS: list[dg.AssetsDefinition | dg.SourceAsset] = [
    daily_cost,
    security_review,
    *(page_asset(runbook, name) for runbook in runbooks().values() for name in REPORTS),
    *(mutations_asset(runbook) for runbook in runbooks().values() if runbook.mutations),
]


def _metadata(reading: Reading, day: DayCost) -> dict[str, Any]:
    lines = ["| service | cost |", "|---|---|"]
    lines += [
        f"| {name.replace('|', '/')} | {amount:.2f} |"
        for name, amount in list(day.services.items())[:SHOWN_SERVICES]
    ]
    return {
        "outcome": "read",
        "days": f"{reading.first_date} to {reading.last_date}",
        "latest_settled_date": str(day.usage_date),
        "cost": float(day.total),
        "currency": day.currency or "none",
        "services": dg.MetadataValue.md("\n".join(lines)),
    }
