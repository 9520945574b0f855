"""Typed failures: one clear sentence each, and whether trying again can help.

Every error that the platform raises on purpose is one of these. The orchestration layer turns
a permanent failure into one that stops every kind of retry, and lets a transient one be retried.
A message names the thing at fault (file, row, column, limit) and what to do next; it never holds
a secret.
"""


class PlatformError(Exception):
    """Base of all failures that the platform raises on purpose; use one of its two branches."""


class PermanentError(PlatformError):
    """Trying again gives the same result: somebody must change the input, a setting or the code."""


class TransientError(PlatformError):
    """The cause may pass by itself (a network, a lock, a concurrent commit): try again."""


class InvalidSettingError(PermanentError):
    """A setting is missing or not usable; the message names the environment variable."""


class InvalidRunbookError(PermanentError):
    """A `runbook.yaml` or contract can't be read; the message names file and field."""


class BadInputError(PermanentError):
    """An input can't be processed as a whole; it belongs in quarantine with this reason."""


class AuditFailedError(PermanentError):
    """Staged rows broke a blocking limit and were not published."""


class StoppedError(PermanentError):
    """Somebody stopped the pipeline, or everything; what was committed before stays."""


class NotFoundError(PermanentError):
    """Something that was asked for by name does not exist."""


class ConflictError(TransientError):
    """A concurrent writer won; the work must be repeated from fresh state."""


class UnavailableError(TransientError):
    """A service (database, object store, queue) did not answer."""
