"""What the platform must know of web_events beside its runbook."""

from pipeline_platform.orchestration.registration import Registration
from pipeline_platform.web_events import automation, definitions
from pipeline_platform.web_events.analyst_queries import newest_queries
from pipeline_platform.web_events.foretelling import files_through, foretell
from pipeline_platform.web_events.ingestion import event_files
from pipeline_platform.web_events.passport import passport
from pipeline_platform.web_events.tables import RAW_EVENTS

REGISTRATION = Registration(
    definitions=definitions.build_defs,
    bronze=RAW_EVENTS,
    intake=event_files,
    unit="day",
    workflow=automation.WORKFLOW,
    requested=automation.requested_ranges,
    sample_queries=newest_queries,
    intake_through=files_through,
    foretell=foretell,
    passport=passport,
)
