"""What the platform measures for any pipeline is checked wherever a runbook states it."""

import dagster as dg
import pytest

from pipeline_platform.definitions import defs
from pipeline_platform.operations.common_checks import common_checks
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.threshold_checks import check_keys


def keys_of(definitions: dg.Definitions) -> set[dg.AssetCheckKey]:
    return {key for checks in definitions.asset_checks or () for key in checks.check_keys}


@pytest.mark.parametrize("name", ["refused_files", "disk_used", "backup_age"])
def test_a_threshold_that_no_code_checks_is_checked(name: str) -> None:
    stated = runbooks()["advisory_performance"].thresholds[name]
    assert {*check_keys([stated])} <= keys_of(common_checks(frozenset(), "production"))


def test_what_a_pipeline_checks_itself_is_left_to_it() -> None:
    declared = frozenset(defs.resolve_asset_graph().asset_check_keys)
    assert keys_of(common_checks(declared, "production")) == set()


def test_its_schedule_runs_in_production_only() -> None:
    started = {
        environment: {
            one.default_status for one in common_checks(frozenset(), environment).schedules or ()
        }
        for environment in ("production", "local")
    }
    assert started == {
        "production": {dg.DefaultScheduleStatus.RUNNING},
        "local": {dg.DefaultScheduleStatus.STOPPED},
    }
