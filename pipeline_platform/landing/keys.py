"""Which object names may be used as they are, and what stands for those that may not.

A key is a path of parts with `/` between them. It comes from whoever delivers a file, so nothing
in it is trusted: it may try to leave the landing zone, or hold characters that break a log, a
shell or a table. Such an object is never claimed; it goes to quarantine under `safe_name`.
"""

import hashlib
import json
import re
import unicodedata

from pipeline_platform.failures import BadInputError

REASON_SUFFIX = ".reason.txt"
"""Ends the name of the text beside a quarantined object; no delivered object may be called so."""

MAX_NAME_BYTES = 240
"""A file system takes 255; the rest is room for REASON_SUFFIX."""

MAX_PART_BYTES = 255
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates (bytes that are no UTF-8), line and paragraph separators."""

_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that let a name be shown in another order than it is stored in."""


class UnsafeNameError(BadInputError):
    """An object can't be claimed under its name, or is a link or device; quarantine it."""


def unsafe_reason(key: str) -> str | None:
    """Say why a key could leave its folder or break what prints it; None if it is safe."""
    if key == "" or key.startswith("/"):
        return "is empty or absolute"
    for part in key.split("/"):
        if part in {"", ".", ".."}:
            return f"has the part '{part}', which could lead out of the landing zone"
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
            return f"has a part longer than {MAX_PART_BYTES} bytes"
    for character in key:
        if unicodedata.category(character) in _UNSAFE_CATEGORIES or character in _DIRECTION_MARKS:
            return f"holds the control character U+{ord(character):04X}"
    return None


def unclaimable_reason(key: str) -> str | None:
    """Say why an object of this key can't be claimed under its own name; None if it can."""
    reason = unsafe_reason(key)
    if reason is not None:
        return reason
    name = base_name(key)
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has a name longer than {MAX_NAME_BYTES} bytes"
    if name.endswith(REASON_SUFFIX):
        return f"ends in '{REASON_SUFFIX}', which is kept for the reasons of quarantined objects"
    return None


def check_key(key: str) -> None:
    """Raise UnsafeNameError if the key could leave its folder or break what prints it."""
    reason = unsafe_reason(key)
    if reason is not None:
        raise UnsafeNameError(f"The key {printable(key)} {reason}; use a plain relative name.")


def check_claimable(key: str) -> None:
    """Raise UnsafeNameError if an object of this key can't be claimed under its own name."""
    reason = unclaimable_reason(key)
    if reason is not None:
        raise UnsafeNameError(
            f"The object {printable(key)} can't be claimed: its key {reason}; "
            "it belongs in quarantine, and the sender should deliver it under a plain name."
        )


def stored_name(key: str, sha256: str) -> str:
    """Return a claimed file's name from its key `<sha256>/<name>`, below whatever folders.

    The name of a stream's batch has folders itself.
    """
    return key.partition(f"{sha256}/")[2]


def base_name(key: str) -> str:
    """Return the last part of a key."""
    return key.rsplit("/", 1)[-1]


def printable(key: str) -> str:
    """Return a key in quotes and ASCII, on one line, so that any log or table can hold it."""
    return json.dumps(key)


def safe_name(key: str) -> str:
    """Return a claimable name that stands for any key: readable rest and a hash of the original.

    Two different keys never share a safe name (but for a collision of 64 bits of SHA-256).
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", base_name(key.rstrip("/")))[-80:].strip("._-")
    fingerprint = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = f"unsafe-{fingerprint}-{readable or 'unnamed'}"
    return name.replace(REASON_SUFFIX, "_reason_txt")
