"""Typed failures: one clear sentence each, and whether trying again can help.

Every error that the platform raises on purpose is one of these. The orchestration layer turns
a permanent failure into one that stops every kind of retry, and lets a transient one be retried.
A message names the thing at fault (file, row, column, limit) and what to do next; it never holds
a secret.
"""

from typing import ClassVar, Literal

FailureKind = Literal[
    "transient",
    "data",
    "permanent",
    "authentication",
    "stopped",
    "memory",
    "defect",
    "lost",
    "cancelled",
]
"""What a failed run needs: time, another input, a change, a right, a resume, memory, a programmer,
a look at the machine, or nothing because somebody wanted it."""


class PlatformError(Exception):
    """Base of all failures that the platform raises on purpose; use one of its two branches."""

    kind: ClassVar[FailureKind] = "permanent"


class PermanentError(PlatformError):
    """Trying again gives the same result: somebody must change the input, a setting or the code."""


class TransientError(PlatformError):
    """The cause may pass by itself (a network, a lock, a concurrent commit): try again."""

    kind = "transient"


class InvalidSettingError(PermanentError):
    """A setting is missing or not usable; the message names the environment variable."""


class RefusedError(InvalidSettingError):
    """A service does not know the credentials, or they may not do what is asked (SP-43)."""

    kind = "authentication"


class InvalidRunbookError(PermanentError):
    """A `runbook.yaml` or contract can't be read; the message names file and field."""


class BadInputError(PermanentError):
    """An input can't be processed as a whole; it belongs in quarantine with this reason."""

    kind = "data"


class AuditFailedError(PermanentError):
    """Staged rows broke a blocking limit and were not published."""

    kind = "data"


class StoppedError(PermanentError):
    """Somebody stopped the pipeline, or everything; what was committed before stays."""

    kind = "stopped"


class NotFoundError(PermanentError):
    """Something that was asked for by name does not exist."""


class ConflictError(TransientError):
    """A concurrent writer won; the work must be repeated from fresh state."""


class UnavailableError(TransientError):
    """A service (database, object store, queue) did not answer."""


def sentence_of(error: Exception) -> str:
    """Return what may be told of any error where one part's failure must not stop the others.

    The text of a foreign error may hold an address with a password: only its class is told.
    """
    is_own = isinstance(error, PlatformError)
    return str(error) if is_own else f"A fault of the code ({type(error).__name__})."


def kind_of_class(name: str) -> FailureKind | None:
    """Return the kind of the platform's error class of that name; None if it is none of these."""
    waiting: list[type[PlatformError]] = [PlatformError]
    while waiting:
        one = waiting.pop()
        if one.__name__ == name:
            return one.kind
        waiting += one.__subclasses__()
    return None
