"""What Dagster has to do with a recovery: runs that a restored database shows as running."""

from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.settings import Settings


def end_unfinished_runs(settings: Settings) -> int:
    """End, as cancelled, every run that no process works on any more; return how many there were.

    After the database was brought back no run of it is alive: each was begun before the point that
    it was brought back to, by a process that has lost its database since.
    """
    with open_instance(settings) as instance:
        found = unfinished_runs(instance)
        for run_id in found:
            run = instance.get_run_by_id(run_id)
            if run is not None:
                instance.report_run_canceled(run, "The database was restored; start it again.")
        return len(found)
