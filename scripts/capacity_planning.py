"""Forecast growth and the day on which a limit is crossed (SW-66).

    python scripts/capacity_planning.py --forecast-days 90 [--pipeline NAME] [--json] [--plot FILE]

The same as `pipeline-platform capacity`, under the name that the runbook knows.
"""

import typer

from pipeline_platform.commands.capacity import capacity

if __name__ == "__main__":
    typer.run(capacity)
