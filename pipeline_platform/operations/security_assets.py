"""The security review as Dagster sees it: an asset that is made weekly, with a check per aspect."""

from collections.abc import Iterator, Sequence

import dagster as dg

from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.operations.security import ASPECTS, Aspect, Finding
from pipeline_platform.operations.security_reviews import review
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now

GROUP = operations_plan().pipeline
KEY = dg.AssetKey([GROUP, "security", "review"])


def check_name(aspect: Aspect) -> str:
    """Return the name of an aspect's check."""
    return aspect.replace(" ", "_")


@dg.asset(
    key=KEY,
    group_name=GROUP,
    description="Access, encryption, rotation, audit trails and tags (XC-12).",
    check_specs=[dg.AssetCheckSpec(check_name(one), asset=KEY) for one in ASPECTS],
)
def security_review(
    context: dg.AssetExecutionContext, services: ServicesParam
) -> Iterator[dg.MaterializeResult[None]]:
    """Review and keep what was found; a finding that fails is a failed check of its aspect."""
    done = review(services, utc_now(), context.run.run_id)
    rows = [rows_of(one) for one in done.findings]
    yield dg.MaterializeResult(
        metadata={
            "findings": dg.MetadataValue.md(markdown_table(rows)),
            "failed": sum(one.outcome == "fail" for one in done.findings),
        },
        check_results=list(_checks(done.findings)),
    )


def rows_of(finding: Finding) -> dict[str, object]:
    """Return a finding as people read it."""
    return {
        "aspect": finding.aspect,
        "subject": finding.subject,
        "outcome": finding.outcome,
        "why": finding.sentence,
        "requirements": ", ".join(finding.requirements),
    }


def _checks(findings: Sequence[Finding]) -> Iterator[dg.AssetCheckResult]:
    plan = operations_plan()
    for aspect in ASPECTS:
        route = plan.security.routes[aspect]
        found = [one for one in findings if one.aspect == aspect]
        failed = [one for one in found if one.outcome == "fail"]
        unseen = [one for one in found if one.outcome == "not measurable"]
        outcome = "fail" if failed else "not measurable" if unseen or not found else "pass"
        is_critical = outcome == "fail" and plan.routes[route].severity == "critical"
        why = "; ".join(f"{one.subject}: {one.sentence}" for one in (failed or unseen)[:3])
        yield dg.AssetCheckResult(
            asset_key=KEY,
            check_name=check_name(aspect),
            passed=outcome == "pass",
            severity=dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN,
            description=f"Security, {aspect}: {why}" if why else f"Security, {aspect}: fine.",
            metadata={
                "outcome": outcome,
                "route": route,
                "failed": len(failed),
                "not_measurable": len(unseen),
            },
        )
