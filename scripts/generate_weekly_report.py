"""Write the weekly report of a pipeline: what the runbook calls by this name (SA-29).

    python scripts/generate_weekly_report.py advisory --start-date 2026-11-22 --out report.html

The same as `pipeline-platform reports weekly`; without --start-date the last seven days.
"""

import typer

from pipeline_platform.commands.report_pages import weekly

if __name__ == "__main__":
    typer.run(weekly)
