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
LONG_MINUTES = 100
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
    """Return what promtool says against these cases, nothing if all are as they must be.

    Rules are evaluated every minute, over a day only every five: it takes a while.
    """
    is_long = any(case.minute > LONG_MINUTES for case in cases)
    pipelines = sorted({case.pipeline for case in cases})
    content = {
        "rule_files": [str(RULES / f"{pipeline}.yml") for pipeline in pipelines],
        "evaluation_interval": "5m" if is_long else "1m",
        "tests": [_block(series, together) for series, together in _blocks(cases)],
    }
    written = folder / "rules_test.yml"
    written.write_text(yaml.safe_dump(content), "utf-8")
    done = promtool("test", "rules", str(written))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def _blocks(cases: Sequence[Case]) -> list[tuple[dict[str, str], list[Case]]]:
    """Put cases together whose series don't contradict each other: each block reads every rule."""
    blocks: list[tuple[dict[str, str], list[Case]]] = []
    for case in cases:
        for series, together in blocks:
            if all(series.get(name, values) == values for name, values in case.series.items()):
                series.update(case.series)
                together.append(case)
                break
        else:
            blocks.append((dict(case.series), [case]))
    return blocks


def _block(series: Mapping[str, str], cases: Sequence[Case]) -> dict[str, object]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [_expectation(case) for case in cases],
    }


def _expectation(case: Case) -> dict[str, object]:
    wanted = {"alertname": case.alert, "alertstate": "firing", "pipeline": case.pipeline}
    selector = ",".join(f'{name}="{value}"' for name, value in {**wanted, **case.labels}.items())
    return {
        "expr": f"count(ALERTS{{{selector}}})",
        "eval_time": f"{case.minute}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
    }
