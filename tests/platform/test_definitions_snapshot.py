"""What Dagster shows of the platform, against a snapshot: nothing appears or vanishes unseen.

After a wanted change write it anew and look at the difference:

    python -m tests.platform.test_definitions_snapshot
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.definitions import build_defs
from pipeline_platform.settings import Settings

SNAPSHOT = Path(__file__).with_name("definitions.json")
ENVIRONMENTS = ("local", "test", "staging", "production")
PARTS = ("assets", "checks", "jobs", "schedules", "sensors")


def definitions(environment: str = "test") -> dg.Definitions:
    return build_defs(Settings(home=Path("unused"), environment=environment))


def assets() -> dict[str, Any]:
    graph = definitions().resolve_asset_graph()
    return {
        key.to_user_string(): {
            "depends_on": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(graph.get(key).kinds),
            "partitions": type(graph.get(key).partitions_def).__name__,
            "backfill": str(getattr(graph.get(key).backfill_policy, "policy_type", None)),
            "pools": sorted(graph.get(key).pools or ()),
            "has_freshness": graph.get(key).freshness_policy is not None,
            "is_executable": graph.get(key).is_executable,
        }
        for key in graph.get_all_asset_keys()
    }


def checks() -> dict[str, Any]:
    graph = definitions().resolve_asset_graph()
    found: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    return {asset: sorted(names) for asset, names in found.items()}


def jobs() -> dict[str, Any]:
    found = definitions()
    return {
        job.name: {
            "steps": sorted(node.name for node in job.nodes),
            "tags": dict(job.tags),
        }
        for job in found.resolve_all_job_defs()
        if not job.name.startswith("__")
    }


def schedules() -> dict[str, Any]:
    by_environment = {name: definitions(name).schedules for name in ENVIRONMENTS}
    return {
        schedule.name: {
            "job": schedule.job_name,
            "cron": schedule.cron_schedule,
            "timezone": schedule.execution_timezone,
            "runs_in": sorted(
                name
                for name, found in by_environment.items()
                for one in found
                if one.name == schedule.name and one.default_status.value == "RUNNING"
            ),
        }
        for schedule in by_environment["test"]
    }


def sensors() -> dict[str, Any]:
    by_environment = {name: definitions(name).sensors for name in ENVIRONMENTS}
    return {
        sensor.name: {
            "jobs": sorted(target.job_name for target in sensor.targets if target.job_name),
            "seconds": sensor.minimum_interval_seconds,
            "runs_in": sorted(
                name
                for name, found in by_environment.items()
                for one in found
                if one.name == sensor.name and one.default_status.value == "RUNNING"
            ),
        }
        for sensor in by_environment["test"]
    }


def current(part: str) -> dict[str, Any]:
    """Return one part of what is defined now, as the snapshot holds it."""
    made = {
        "assets": assets,
        "checks": checks,
        "jobs": jobs,
        "schedules": schedules,
        "sensors": sensors,
    }[part]()
    return json.loads(json.dumps(made, sort_keys=True))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_defined_is_what_the_snapshot_holds(part: str) -> None:
    assert current(part) == json.loads(SNAPSHOT.read_text("utf-8"))[part]


def test_the_definitions_can_be_loaded_by_dagster() -> None:
    assert dg.Definitions.validate_loadable(definitions()) is None


if __name__ == "__main__":
    SNAPSHOT.write_text(
        json.dumps({part: current(part) for part in PARTS}, indent=2, sort_keys=True) + "\n",
        "utf-8",
    )
