"""The process that a drill kills: it publishes a partition of the scratch lake anew (B-11).

    python -m pipeline_platform.recovery.republishing PIPELINE NAMESPACE TABLE YYYY-MM-DD

Its settings are those of the scratch place, from the environment.
"""

import sys
from datetime import date

from pipeline_platform.recovery.exercises import STAGED, republish
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings


def main(pipeline: str, namespace: str, name: str, value: str) -> None:
    """Stage, say so, and commit."""
    with Services(Settings.from_env()) as services:
        (table,) = [
            one for one in services.lake.tables(pipeline) if one.identifier == (namespace, name)
        ]
        republish(services, table, date.fromisoformat(value), lambda: print(STAGED, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
