"""How the platform's failures reach Dagster: permanent ones stop every retry, transient ones ask.

Steps have no retry policy, because Dagster's would also repeat what can't get better. Instead an
asset's body stands in `handled_failures`: only a TransientError is retried, with growing waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb

from pipeline_platform.failures import PermanentError, StoppedError, TransientError

STOPPED_TAG = "pipeline_platform/stopped"
"""On a run that ended because somebody stopped its pipeline: it is no failed attempt."""
MAX_RETRIES = 3
FIRST_WAIT_SECONDS = 2


@contextmanager
def handled_failures(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Turn the platform's failures into Dagster's: `Failure` without retries, or a retry."""
    try:
        yield
    except PermanentError as error:
        if isinstance(error, StoppedError):
            _mark_stopped(context)
        raise dg.Failure(
            description=str(error),
            metadata={"failure_class": type(error).__name__, "is_permanent": True},
            allow_retries=False,
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise dg.Failure(
            description=(
                "The step needs more memory than its limit; launch it again with a larger "
                f"memory_limit in its configuration ({str(error).splitlines()[0]})"
            ),
            metadata={"failure_class": "OutOfMemory", "is_permanent": True},
            allow_retries=False,
        ) from error
    except TransientError as error:
        wait = FIRST_WAIT_SECONDS * 2**context.retry_number
        context.log.warning(f"{error} Trying again in {wait} s.")
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error


def _mark_stopped(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    op_context = context if isinstance(context, dg.OpExecutionContext) else None
    if isinstance(context, dg.AssetExecutionContext):
        op_context = context.op_execution_context
    if op_context is not None and context.instance.has_run(op_context.run_id):
        context.instance.add_run_tags(op_context.run_id, {STOPPED_TAG: "true"})
