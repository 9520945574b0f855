"""`landing ingest` and `partitions process`: files to PostgreSQL by two commands."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform.advisory_performance.automation import WORKFLOW
from pipeline_platform.commands.partitions import refuse_second_run
from pipeline_platform.failures import ConflictError
from tests.integration.commands.conftest import Processed, Shell

ADVISORY = ("--pipeline", "advisory")


def test_ingest_says_what_became_of_every_file(processed: Processed) -> None:
    assert {one["outcome"] for one in processed.ingested} == {"published", "quarantined"}


def test_list_names_the_months_that_files_touched(processed: Processed) -> None:
    touched = {month for one in processed.ingested for month in one["partitions"]}
    assert {one["partition"] for one in processed.waiting} == touched


def test_process_ends_well_although_vendors_were_wrong(processed: Processed) -> None:
    assert processed.ended.exit_code == 0, processed.ended.output


def test_process_leaves_no_month_waiting(processed: Processed) -> None:
    assert processed.shell.json("partitions", "list") == []


def test_process_has_nothing_to_do_a_second_time(processed: Processed) -> None:
    result = processed.shell("partitions", "process")
    assert (result.exit_code, "none has new rows" in result.stdout) == (0, True)


def test_every_file_is_completed_or_quarantined(processed: Processed) -> None:
    runs = processed.shell.json("reports", "files", "--hours", "1")
    assert {one["status"] for one in runs} == {"COMPLETED", "QUARANTINED"}


def test_months_in_the_future_are_wrong_use(processed: Processed) -> None:
    assert processed.shell("partitions", "process", *ADVISORY, "--to", "2999-01").exit_code == 2


def test_a_period_that_ends_before_it_starts_is_wrong_use(processed: Processed) -> None:
    period = ("--from", "2026-03", "--to", "2026-01")
    assert processed.shell("partitions", "process", *ADVISORY, *period).exit_code == 2


def test_a_range_without_a_pipeline_is_wrong_use(processed: Processed) -> None:
    result = processed.shell("partitions", "process", "--from", "2026-01")
    assert (result.exit_code, "--pipeline" in result.output) == (2, True)


def test_a_range_of_days_is_not_written_as_a_month(processed: Processed) -> None:
    result = processed.shell("partitions", "process", "--pipeline", "web", "--from", "never")
    assert result.exit_code == 2


def test_processing_without_any_bronze_is_wrong_use(shell: Shell) -> None:
    assert shell("partitions", "process", *ADVISORY, "--from", "2026-01").exit_code == 2


def test_a_second_workflow_must_wait_for_the_first() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun(WORKFLOW, status=dg.DagsterRunStatus.STARTED))
        with pytest.raises(ConflictError, match="is running"):
            refuse_second_run(instance, WORKFLOW)


def test_an_ingest_that_refuses_a_file_ends_with_1(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "unheard_of.csv").write_text("a,b\n1,2\n")
    shell("landing", "put", str(tmp_path / "unheard_of.csv"))
    assert shell("landing", "ingest").exit_code == 1


def test_an_ingest_with_nothing_to_do_is_fine(shell: Shell) -> None:
    result = shell("landing", "ingest")
    assert (result.exit_code, "none was waiting" in result.stdout) == (0, True)


def test_the_installed_command_answers_in_json(processed: Processed) -> None:
    command = [str(Path(sys.executable).with_name("pipeline-platform")), "reports", "ledger"]
    finished = subprocess.run(
        [*command, "--json"],
        env={**processed.shell.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (finished.returncode, len(json.loads(finished.stdout)) > 0) == (0, True)
