"""What the platform must know of advisory_performance beside its runbook."""

from pipeline_platform.advisory_performance import automation, definitions
from pipeline_platform.advisory_performance.after_recovery import write_newest_months
from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.measures import readers_queries
from pipeline_platform.advisory_performance.passport import passport
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.serving import reload_months
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.orchestration.registration import Registration

REGISTRATION = Registration(
    definitions=definitions.build_defs,
    bronze=VENDOR_ROWS,
    intake=lambda services, run_id: VendorFiles(RunContext(services, run_id)),
    unit="month",
    workflow=automation.WORKFLOW,
    requested=automation.requested_range,
    sample_queries=readers_queries,
    reconciliation=write_newest_months,
    passport=passport,
    is_linked=True,
    reload=lambda services, run_id, months: reload_months(RunContext(services, run_id), months),
)
