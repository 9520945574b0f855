"""Putting away what can't be claimed: under a safe name, with its reason and original name.

Each quarantined object has a text beside it, `<name>.reason.txt`, written before the object comes,
so that nothing ever lies in quarantine without a reason.
"""

import hashlib

from pipeline_platform.failures import NotFoundError
from pipeline_platform.landing.keys import REASON_SUFFIX, base_name, printable, safe_name
from pipeline_platform.landing.objects import ObjectStore


def put_away(
    store: ObjectStore, source_key: str, original: str, reason: str, *, keep_reason: bool = False
) -> str:
    """Move an object to `quarantine/<sha256>/<safe name of original>`; return its location.

    A link or device is not followed: a text that says what it was takes its place. Done before is
    done: the location of then is returned. `keep_reason` leaves a reason that is there already,
    written by a process that was killed before the object came. Raises NotFoundError or
    ObjectChangedError.
    """
    name = safe_name(original)

    def destination(sha256: str) -> str:
        if not (keep_reason and store.exists(f"quarantine/{sha256}/{name}{REASON_SUFFIX}")):
            write_reason(store, f"{sha256}/{name}", reason, original=original)
        return f"quarantine/{sha256}/{name}"

    try:
        described = store.describe(source_key)
        if described is None:
            return f"{store.location}/{store.take(source_key, destination).key}"
    except NotFoundError:
        for done in store.list("quarantine"):
            if base_name(done.key) == name:
                return f"{store.location}/{done.key}"
        raise
    text = f"This object was no file: {described}\n".encode()
    key = destination(hashlib.sha256(text).hexdigest())
    store.put(key, text)
    store.delete(source_key)
    return f"{store.location}/{key}"


def write_reason(store: ObjectStore, key: str, reason: str, *, original: str) -> None:
    """Write the text beside `quarantine/<key>`: the reason, and the name as it was delivered."""
    text = f"{reason}\nOriginal name: {printable(original)}\n"
    store.put(f"quarantine/{key}{REASON_SUFFIX}", text.encode("utf-8", "backslashreplace"))
