"""What the platform must know of readings beside its runbook."""

from pipeline_platform.readings import definitions
from pipeline_platform.readings.ingestion import files_through, foretell, reading_files
from pipeline_platform.readings.passport import passport
from pipeline_platform.readings.processing import load_days
from pipeline_platform.readings.tables import RAW_READINGS

from pipeline_platform.orchestration.registration import Registration

REGISTRATION = Registration(
    definitions=definitions.build_defs,
    bronze=RAW_READINGS,
    intake=reading_files,
    intake_through=files_through,
    foretell=foretell,
    passport=passport,
    unit="day",
    workflow=definitions.WORKFLOW,
    requested=definitions.requested_ranges,
    reload=load_days,
)
