"""Prometheus' own checker, over the generated rule files: do alerts fire where they must?"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipeline_platform.commands.generate import FOLDER

RULES = FOLDER / "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed; the Debian package `prometheus` has it",
)


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, the minute at which is looked, and whether an alert fires."""

    pipeline: str
    alert: str
    labels: Mapping[str, str]
    series: Mapping[str, str]
    minute: int
    fires: bool


def complaints(folder: Path, cases: Sequence[Case]) -> str:
    """Return what promtool says against these cases, nothing if all are as they must be."""
    content = {
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yml"))],
        "evaluation_interval": "1m",
        "tests": [_test(case) for case in cases],
    }
    written = folder / "rules_test.yml"
    written.write_text(yaml.safe_dump(content), "utf-8")
    done = promtool("test", "rules", str(written))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def _test(case: Case) -> dict[str, object]:
    wanted = {"alertname": case.alert, "alertstate": "firing", "pipeline": case.pipeline}
    selector = ",".join(f'{name}="{value}"' for name, value in {**wanted, **case.labels}.items())
    must = "fires" if case.fires else "rests"
    return {
        "name": f"{case.pipeline} {case.alert} {dict(case.labels)} {must}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f"count(ALERTS{{{selector}}})",
                "eval_time": f"{case.minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }
        ],
    }
