"""Run a command without root's rights, because PostgreSQL refuses to run as root.

    python -I -S unprivileged.py namespace|nobody COMMAND [ARGUMENT ...]

`namespace`: in a user namespace of its own in which root appears as user 1000; files keep their
owner. `nobody`: as the user nobody. A script of its own and standard library only, so that no
code runs between fork and exec of a process that may have threads.
"""

import ctypes
import os
import pwd
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_UNPRIVILEGED_ID = 1000


def enter_namespace() -> None:
    """Leave root's rights behind in a new user namespace; raise OSError where refused."""
    user, group = os.geteuid(), os.getegid()
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{_UNPRIVILEGED_ID} {user} 1")
    (own / "gid_map").write_text(f"{_UNPRIVILEGED_ID} {group} 1")


def become_nobody() -> None:
    """Become the user nobody for good; raise OSError where refused."""
    account = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def main() -> None:
    """Give up root's rights in the way that the first argument names, then become the command."""
    way, *command = sys.argv[1:]
    {"namespace": enter_namespace, "nobody": become_nobody}[way]()
    os.execv(command[0], command)  # noqa: S606 - our own command, no shell wanted


if __name__ == "__main__":
    main()
