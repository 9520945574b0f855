"""Findings of made-up things of a pipeline, and what its runbook says of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pipeline_platform.operations.faults import ALL_DAYS, Days, Fault, Finding, Key, after
from pipeline_platform.operations.incidents import Incident, Judgement, judge
from pipeline_platform.operations.plan import alertings
from pipeline_platform.quality.thresholds import Remedy

PIPELINE = "web_events"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
REMEDY = Remedy(
    command="pipeline-platform landing ingest", dry_run="pipeline-platform partitions list"
)
ROUTES = {"critical": "data_corruption", "warning": "quality_degradation", "info": "targets"}
SILVER, GOLD = f"{PIPELINE}/silver/web_events", f"{PIPELINE}/gold/sessions"


def finding(
    name: str = "check:a",
    *,
    is_fine: bool = False,
    kind: str = "check",
    minute: float = 0,
    event_id: int | None = None,
    days: Days = ALL_DAYS,
    severity: str = "warning",
    subject: str = SILVER,
    **others: object,
) -> Finding:
    return Finding(
        pipeline=PIPELINE,
        name=name,
        kind=kind,
        subject=subject,
        is_fine=is_fine,
        at=NOON + timedelta(minutes=minute),
        event_id=event_id,
        days=days,
        severity=severity,
        route=ROUTES[severity],
        response_minutes={"critical": 15, "warning": 120, "info": 1440}[severity],
        sentence=f"{name} is broken.",
        remedy=REMEDY,
        **others,
    )


class Desk:
    """Incidents and faults as the database would keep them from one round to the next."""

    def __init__(self) -> None:
        self.faults: Mapping[Key, Fault] = {}
        self.open: list[Incident] = []
        self.closed: list[Incident] = []
        self.told: list[tuple[str, str]] = []

    def round(self, findings: Sequence[Finding] = (), minute: float = 0) -> Judgement:
        """Take findings in and judge at that minute after noon; return what was judged."""
        self.faults = after(self.faults, findings)
        now = NOON + timedelta(minutes=minute)
        judged = judge(self.open, list(self.faults.values()), alertings(), now)
        numbered = [
            incident
            if incident.incident_id is not None
            else Incident(**{**incident.__dict__, "incident_id": id(incident)})
            for incident in judged.incidents
        ]
        self.open = [one for one in numbered if one.state != "RESOLVED"]
        self.closed += [one for one in numbered if one.state == "RESOLVED"]
        ended = {one.key for one in numbered if one.state == "RESOLVED"}
        self.faults = {
            one.key: Fault(**{**one.__dict__, "cause": None})
            if (one.pipeline, one.cause) in ended
            else one
            for one in judged.faults
        }
        self.told += [
            (event.cause, event.kind) for event in judged.events if event.kind != "joined"
        ]
        return judged
