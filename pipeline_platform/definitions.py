"""The code location: every pipeline's assets, checks, jobs, schedules and sensors.

`build_defs` is used alike by Dagster, the command line and tests; nothing connects to anything
until a run asks for it.
"""

import sys
from collections.abc import Mapping

import dagster as dg

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.operations import definitions as operations
from pipeline_platform.operations.common_checks import common_checks
from pipeline_platform.orchestration.registration import registration_of
from pipeline_platform.pipeline_folders import pipeline_folders
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings


def build_defs(settings: Settings, resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """Assemble the platform for one set of settings; `resources` replaces the default ones."""
    pipelines = [
        registration_of(name).definitions(settings.environment) for name in pipeline_folders()
    ]
    declared = frozenset(
        key
        for pipeline in pipelines
        for checks in pipeline.asset_checks or ()
        for key in checks.check_keys
    )
    return dg.Definitions.merge(
        *pipelines,
        operations.build_defs(settings.environment),
        common_checks(declared, settings.environment),
        dg.Definitions(
            resources=dict(resources) if resources else {"services": Services(settings)},
            executor=dg.in_process_executor,
        ),
    )


try:
    defs = build_defs(Settings.from_env())
except InvalidSettingError:
    # Dagster shows what can't be loaded with every place of the code on the way there, which would
    # hide the sentence. A process that can't load this does nothing else.
    sys.tracebacklimit = 0
    raise
