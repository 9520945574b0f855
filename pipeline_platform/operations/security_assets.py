"""The security review as Dagster sees it: an asset that is made weekly, with a check per aspect.

What a pipeline uses has a check of its own where its runbook names who is told of breaches (SA-89).
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from pipeline_platform.operations.plan import operations_plan, runbooks
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.operations.security import ASPECTS, Aspect, Finding
from pipeline_platform.operations.security_reviews import review
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Alerting, SecuredThings

GROUP = operations_plan().pipeline
KEY = dg.AssetKey([GROUP, "security", "review"])


def check_name(aspect: Aspect) -> str:
    """Return the name of an aspect's check."""
    return aspect.replace(" ", "_")


def breaches_of(pipeline: str) -> str:
    """Return the name of the check of what one pipeline uses."""
    return f"breaches_of_{pipeline}"


OWNERS: Mapping[str, tuple[str, SecuredThings]] = {
    breaches_of(one.pipeline): (one.pipeline, one.security)
    for one in runbooks().values()
    if one.security.route is not None
}
"""By check: the pipelines that are told of breaches of what they use on a route of their own."""


@dg.asset(
    key=KEY,
    group_name=GROUP,
    description="Access, encryption, rotation, audit trails and tags (XC-12).",
    check_specs=[
        dg.AssetCheckSpec(name, asset=KEY) for name in (*map(check_name, ASPECTS), *OWNERS)
    ],
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
        check_results=[*_of_platform(done.findings), *_of_owners(done.findings)],
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


def _of_platform(findings: Sequence[Finding]) -> Iterator[dg.AssetCheckResult]:
    """Yield a check for each aspect, of all that no pipeline is told of by itself."""
    plan = operations_plan()
    owned = [one for _, things in OWNERS.values() for one in _breaches(findings, things)]
    for aspect in ASPECTS:
        found = [one for one in findings if one.aspect == aspect and one not in owned]
        yield _judged(check_name(aspect), aspect, found, plan, plan.security.routes[aspect])


def _of_owners(findings: Sequence[Finding]) -> Iterator[dg.AssetCheckResult]:
    for name, (pipeline, things) in OWNERS.items():
        found = _breaches(findings, things)
        yield _judged(name, pipeline, found, runbooks()[pipeline], str(things.route))


def _breaches(findings: Sequence[Finding], things: SecuredThings) -> list[Finding]:
    """Return the findings of what a pipeline uses, but tags: without one nothing is open."""
    own = {
        f"{kind} {name}"
        for kind, names in (
            ("role", things.roles),
            ("bucket", things.buckets),
            ("trail", things.trails),
            ("secret", things.secrets),
        )
        for name in names
    }
    return [one for one in findings if one.subject in own and one.aspect != "tags"]


def _judged(
    name: str, about: str, found: Sequence[Finding], alerting: Alerting, route: str
) -> dg.AssetCheckResult:
    failed = [one for one in found if one.outcome == "fail"]
    unseen = [one for one in found if one.outcome == "not measurable"]
    outcome = "fail" if failed else "not measurable" if unseen or not found else "pass"
    is_critical = outcome == "fail" and alerting.routes[route].severity == "critical"
    why = "; ".join(f"{one.subject}: {one.sentence}" for one in (failed or unseen)[:3])
    return dg.AssetCheckResult(
        asset_key=KEY,
        check_name=name,
        passed=outcome == "pass",
        severity=dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN,
        description=f"Security, {about}: {why}" if why else f"Security, {about}: fine.",
        metadata={
            "outcome": outcome,
            "pipeline": alerting.pipeline,
            "route": route,
            "failed": len(failed),
            "not_measurable": len(unseen),
        },
    )
