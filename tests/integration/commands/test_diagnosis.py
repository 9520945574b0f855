"""`errors`, `run show`, `slowest`, `db` and `doctor` over a processed platform and an empty one."""

from typing import Any

import pytest

from tests.integration.commands.conftest import Processed, Shell

WORKFLOW = "advisory_performance_etl_workflow"
VALUATIONS_KEY = "advisory_performance/silver/valuations"


@pytest.fixture(scope="module")
def run_id(processed: Processed) -> str:
    (one, *_) = processed.shell.json("runs", "--asset", VALUATIONS_KEY)
    return str(one["run"])


@pytest.fixture(scope="module")
def shown(processed: Processed, run_id: str) -> Any:
    return processed.shell.json("run", "show", run_id[:8])


@pytest.fixture(scope="module")
def errors(processed: Processed) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = processed.shell.json("errors", "--limit", "10000")
    return found


def test_a_run_is_known_by_the_beginning_of_its_id(shown, run_id) -> None:
    assert (shown["facts"]["run"], shown["facts"]["job"]) == (run_id, WORKFLOW)


def test_each_step_has_its_time(shown) -> None:
    assert {one["seconds"] is not None for one in shown["steps"]} == {True}


def test_what_it_published_has_rows_code_and_inputs(shown) -> None:
    (silver,) = [one for one in shown["published"] if one["table"] == VALUATIONS_KEY]
    assert (silver["rows added"] > 0, len(silver["code"]), silver["inputs"][:12]) == (
        True,
        12,
        "vendor_rows@",
    )


def test_a_run_of_a_command_is_known_by_what_it_left(processed: Processed) -> None:
    with processed.shell.services() as services, services.database.connection() as connection:
        (run_id,) = connection.execute("SELECT DISTINCT run_id FROM etl_processing_log").fetchone()
    files = processed.shell.json("run", "show", run_id)["files"]
    assert {one["file"] for one in files} >= {
        one["file"] for one in processed.ingested if one["outcome"] == "published"
    }


@pytest.mark.parametrize("name", ["no-such-run", "x", ""])
def test_an_unknown_run_is_wrong_use(processed: Processed, name: str) -> None:
    assert processed.shell("run", "show", name).exit_code == 2


def test_what_a_step_said_is_found_by_a_day_of_its_month(processed: Processed, run_id) -> None:
    step = ("--step", "advisory_performance_silver")
    by_day = processed.shell.json("logs", *step, "--partition", "2026-03-03")
    assert by_day == processed.shell.json("logs", *step, "--run", run_id)


def test_a_step_of_no_run_over_a_day_is_wrong_use(processed: Processed) -> None:
    arguments = ("--step", "advisory_performance_silver", "--partition", "2025-01-31")
    assert processed.shell("logs", *arguments).exit_code == 2


def test_errors_name_each_refused_file(processed: Processed, errors) -> None:
    refused = {one["file"] for one in processed.ingested if one["outcome"] == "quarantined"}
    assert {one["where"] for one in errors if one["what"] == "file"} == refused


def test_errors_count_refused_records_by_rule(processed: Processed, errors) -> None:
    held = processed.shell.json("quarantine", "list", "--kind", "rows", "--limit", "10000")
    assert sum(one["count"] for one in errors if one["what"] == "records") == len(held)


def test_errors_are_found_faults(processed: Processed) -> None:
    assert processed.shell("errors", "--limit", "1").exit_code == 1


def test_errors_of_another_pipeline_are_left_out(processed: Processed) -> None:
    assert processed.shell("errors", "--pipeline", "web").exit_code == 0


@pytest.mark.parametrize("since", ["someday", "2h30", "h"])
def test_errors_since_no_instant_is_wrong_use(processed: Processed, since: str) -> None:
    assert processed.shell("errors", "--since", since).exit_code == 2


def test_the_slowest_step_comes_first(processed: Processed, run_id) -> None:
    found = [one["seconds"] for one in processed.shell.json("slowest", "--limit", "3")]
    assert (len(found), found) == (3, sorted(found, reverse=True))


def test_a_partition_is_explained_by_run_inputs_and_checks(processed: Processed, run_id) -> None:
    found = processed.shell.json("explain", "valuations", "2026-03")
    outcomes = {one["outcome"] for one in found["checks"]}
    assert (found["made_by"]["run"], found["made_by"]["partition"]) == (run_id, "2026-03-01")
    assert (found["inputs"][0]["input"], "pass" in outcomes) == (
        "advisory_performance/bronze/vendor_rows",
        True,
    )


def test_a_partition_that_was_never_published_is_wrong_use(processed: Processed) -> None:
    assert processed.shell("explain", "valuations", "2025-01").exit_code == 2


def test_the_impact_of_a_file_goes_down_to_what_is_served(processed: Processed, run_id) -> None:
    with processed.shell.services() as services, services.database.connection() as connection:
        (sha256,) = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log WHERE status = 'COMPLETED' LIMIT 1"
        ).fetchone()
    found = processed.shell.json("impact", "--file", sha256[:16])
    made = {one["asset"]: one for one in found["made_from_it"]}
    assert made[VALUATIONS_KEY]["by"] == [run_id]
    assert "advisory_performance/serving/performance_data" in made
    assert found["accounts"] != []


@pytest.mark.parametrize(
    "arguments", [(), ("--file", "ff", "--run", "x"), ("--table", "valuations"), ("--file", "")]
)
def test_an_impact_needs_one_thing_to_start_from(processed: Processed, arguments) -> None:
    assert processed.shell("impact", *arguments).exit_code == 2


def test_lineage_of_a_run_leads_from_gold_to_silver(processed: Processed, run_id) -> None:
    events = processed.shell.json("lineage", "send", "--dry-run")
    (made,) = [
        one
        for one in events
        if one["job"]["name"] == "advisory_performance.gold.time_weighted_returns"
        and one["eventType"] == "COMPLETE"
    ]
    assert {one["name"] for one in made["inputs"]} == {
        "advisory_performance_silver.valuations",
        "advisory_performance_silver.external_flows",
    }
    assert made["run"]["facets"]["parent"]["run"]["runId"] == run_id


def test_lineage_without_a_service_says_what_to_set(processed: Processed) -> None:
    result = processed.shell("lineage", "send")
    assert (result.exit_code, "PLATFORM_LINEAGE_URL" in result.stderr) == (2, True)


def test_a_preview_of_an_undo_changes_nothing(processed: Processed, run_id) -> None:
    before = processed.shell.json("run", "show", run_id)["published"]
    found = processed.shell.json("undo", run_id)
    assert (found["can be undone"], found["served again"] != []) == (True, True)
    assert processed.shell.json("run", "show", run_id)["published"] == before


def test_an_undo_is_refused_while_the_pipeline_goes_on(processed: Processed, run_id) -> None:
    result = processed.shell("undo", run_id, "--apply", "--reason", "test")
    assert (result.exit_code, "pipelines stop" in result.stderr) == (2, True)


def test_a_refused_undo_is_recorded(processed: Processed, run_id) -> None:
    processed.shell("undo", run_id, "--apply", "--reason", "test")
    with processed.shell.services() as services, services.database.connection() as connection:
        rows = connection.execute(
            "SELECT action, target, result FROM operator_actions WHERE action = 'undo'"
        ).fetchall()
    assert set(rows) == {("undo", run_id, "refused")}


def test_nothing_is_slow_or_locked(shell: Shell) -> None:
    assert [shell("db", command).exit_code for command in ("slow", "locks")] == [0, 0]


def test_a_diagnosis_without_a_database_names_the_layer_and_whom_to_call(tmp_path) -> None:
    shell = Shell(tmp_path, "postgresql://u:hunter2@127.0.0.1:1/db")
    (found,) = shell.json("diagnose", "advisory")
    layers = [one["layer"] for one in found["connectivity"] if one["service"] == "database"]
    assert layers == ["tcp"]
    assert ("alarms" in found, "hunter2" in str(found)) == (False, False)
    assert {one["first"].split(" (")[0] for one in found["call"]} >= {"Data Engineering"}


def test_a_diagnosis_tells_what_is_kept_of_the_pipeline(processed: Processed) -> None:
    (found,) = processed.shell.json("diagnose", "advisory", "--since", "7d")
    assert (found["connectivity"], found["is_well"]) == ([], False)
    assert [one["dependency"] for one in found["health"]] == ["dagster"], "no daemon runs here"
    assert found["logs"]


def test_access_shows_what_we_may_do_and_no_other_layer_that_works(shell: Shell) -> None:
    layers = {one["layer"] for one in shell.json("doctor", "access")}
    assert layers == {"login", "read", "write", "use"}


def test_the_doctor_finds_the_first_layer_that_fails(tmp_path) -> None:
    shell = Shell(tmp_path, "postgresql://u:hunter2@127.0.0.1:1/db")
    result = shell("doctor")
    assert (result.exit_code, "database: tcp" in result.stderr) == (1, True)
