"""Operate the third pipeline by the platform's own commands; write what they said as JSON.

A process of its own: the platform finds its pipelines when it is imported.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pipeline_platform

pipeline_platform.__path__.append(str(Path(__file__).with_name("packages")))

from fastapi.testclient import TestClient  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from pipeline_platform.api.app import create_app  # noqa: E402
from pipeline_platform.cli import app  # noqa: E402
from pipeline_platform.commands.code_location import code_location  # noqa: E402
from pipeline_platform.commands.generate import generated_files  # noqa: E402
from pipeline_platform.commands.job_runs import execute_quietly  # noqa: E402
from pipeline_platform.commands.serve import platform_at  # noqa: E402

SERVED = "SELECT day::text, account_id, value FROM meter_totals ORDER BY 1, 2"


def command(*arguments: str) -> Any:
    """Run a command; return what it printed as JSON, or else its exit code."""
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    try:
        return json.loads(result.stdout)
    except ValueError:
        return result.exit_code


def deliver(folder: Path, name: str, text: str) -> None:
    """Deliver a file, take it in and process its days."""
    (folder / name).write_text(text, "utf-8")
    command("landing", "put", str(folder / name), "--pipeline", "readings")
    with code_location() as location:
        job = location.definitions.resolve_job_def("readings_ingest")
        execute_quietly(location.instance, job)


def served() -> list[Any]:
    """Return the rows that applications read."""
    with code_location() as location, location.services.database.connection() as connection:
        return [list(row) for row in connection.execute(SERVED).fetchall()]


def let_read(role: str) -> None:
    """Make a role that may read what is served."""
    with code_location() as location, location.services.database.transaction() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT SELECT ON meter_totals TO {role}")


def over_http() -> dict[str, Any]:
    """Return what the HTTP service says of the pipeline."""
    with code_location() as location, TestClient(create_app(platform_at(location))) as client:
        return {
            "pipelines": client.get("/pipelines").json(),
            "runs": client.get("/pipelines/readings/runs").json(),
            "metrics": client.get("/metrics", headers={"Accept": "text/plain"}).text,
        }


def story(folder: Path) -> dict[str, Any]:
    """Tell it from the first file to the last page."""
    told: dict[str, Any] = {}
    of_it = ("--pipeline", "readings")
    deliver(folder, "one.csv", "m1,2026-03-01,1.5\nm2,2026-03-01,2\n")
    told["waiting"] = command("partitions", "list", *of_it, "--json")
    command("partitions", "process", *of_it)
    told["served_before"] = served()
    let_read("meter_readers")
    deliver(folder, "two.csv", "m1,2026-03-01,40\nm3,2026-03-02,4\n")
    command("partitions", "process", *of_it)
    told["served_after"] = served()
    runs = command("runs", *of_it, "--json")
    told["impact"] = command("impact", "--run", runs[1]["run"], "--json")
    told["preview"] = command("undo", runs[0]["run"], "--json")
    command("pipelines", "stop", "readings", "--reason", "wrong file")
    command("undo", runs[0]["run"], "--apply")
    told["served_undone"] = served()
    told["while_stopped"] = command("partitions", "process", *of_it)
    command("pipelines", "resume", "readings")
    command("partitions", "process", *of_it)
    told["served_again"] = served()
    deliver(folder, "three.csv", "m4;2026-03-05;1\n")
    replay = ("quarantine", "replay", *of_it, "--dry-run", "--json")
    told["replay"] = command(*replay)
    (folder / "separator.txt").write_text(";", "utf-8")
    told["foretold"] = command(*replay, "--mappings", str(folder))
    told["passport"] = command("passport", "m1", "2026-03-01", *of_it, "--json")
    command("check", "readings")
    told["checks"] = command("reports", "checks", *of_it, "--json")
    command("alerts", "send")
    told["incidents"] = command("incidents", "list", *of_it, "--json")
    told["pages"] = {
        name: command("reports", name, "readings", "--json")
        for name in ("morning", "end-of-day", "weekly", "monthly")
    }
    told["http"] = over_http()
    generated = generated_files(folder / "docs")
    told["generated"] = sorted(str(one.relative_to(folder)) for one in generated)
    return told


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(story(Path(sys.argv[1])), default=str), "utf-8")
