"""How the platform's failures reach Dagster: permanent ones stop every retry, transient ones ask.

Steps have no retry policy, because Dagster's would also repeat what can't get better. Instead an
asset's body stands in `handled_failures`: only a TransientError is retried, with growing waits.
Of which kind a failure was is kept as a tag of its run; of a step that succeeded, how much memory
it took at most (SA-56) is metadata of its assets.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb

from pipeline_platform.failures import FailureKind, PermanentError, TransientError
from pipeline_platform.memory import begin_peak, peak_bytes

STOPPED_TAG = "pipeline_platform/stopped"
"""On a run that ended because somebody stopped its pipeline: it is no failed attempt."""
FAILURE_TAG = "platform/failure"
"""On a run that failed: the kind of its failure (`failures.FailureKind`), to be searched for."""
PEAK_MEMORY = "peak_memory_bytes"
"""Metadata of an asset: the most resident memory that the process of its step held at once."""
MAX_RETRIES = 3
FIRST_WAIT_SECONDS = 2


@contextmanager
def handled_failures(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Turn the platform's failures into Dagster's: `Failure` without retries, or a retry."""
    begin_peak()
    try:
        yield
        _tell_peak(context)
    except PermanentError as error:
        raise _final(context, error.kind, type(error).__name__, str(error)) from error
    except duckdb.OutOfMemoryException as error:
        sentence = (
            "The step needs more memory than its limit; launch it again with a larger "
            f"memory_limit in its configuration ({str(error).splitlines()[0]})"
        )
        raise _final(context, "memory", "OutOfMemory", sentence) from error
    except TransientError as error:
        if context.retry_number >= MAX_RETRIES:
            sentence = f"{error} It was tried {1 + MAX_RETRIES} times."
            raise _final(context, error.kind, type(error).__name__, sentence) from error
        wait = FIRST_WAIT_SECONDS * 2**context.retry_number
        context.log.warning(f"{error} Trying again in {wait} s.")
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
    except Exception:
        _mark(context, "defect")
        raise


def _tell_peak(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    """Add the step's peak memory, that of its process, to what it materializes."""
    peak = peak_bytes()
    if peak is not None and isinstance(context, dg.AssetExecutionContext):
        for key in context.selected_asset_keys:
            context.add_asset_metadata({PEAK_MEMORY: peak}, asset_key=key)


def _final(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    kind: FailureKind,
    name: str,
    sentence: str,
) -> dg.Failure:
    """Keep the failure's kind on the run and return what ends the step without another try."""
    _mark(context, kind)
    return dg.Failure(
        description=sentence,
        metadata={
            "failure_class": name,
            "failure_kind": kind,
            "is_permanent": kind != "transient",
        },
        allow_retries=False,
    )


def _mark(context: dg.AssetExecutionContext | dg.OpExecutionContext, kind: FailureKind) -> None:
    op_context = context if isinstance(context, dg.OpExecutionContext) else None
    if isinstance(context, dg.AssetExecutionContext):
        op_context = context.op_execution_context
    if op_context is not None and context.instance.has_run(op_context.run_id):
        tags = {FAILURE_TAG: kind, **({STOPPED_TAG: "true"} if kind == "stopped" else {})}
        context.instance.add_run_tags(op_context.run_id, tags)
