"""A folder that nothing leads out of: every path is walked part by part, following no link.

Each part is opened relative to the folder before it, so that a link swapped in at the last moment
leads nowhere. What the system refuses is told as one of the platform's failures.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline_platform.failures import NotFoundError, UnavailableError
from pipeline_platform.landing.keys import UnsafeNameError, printable

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ContainedFolder:
    """Opens, lists and prunes what lies below one root, which is made on first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    @contextmanager
    def failures(self, key: str) -> Iterator[None]:
        """Tell the system's errors as the platform's, with key and folder."""
        where = f"{printable(key)} in {self.location}"
        try:
            yield
        except FileNotFoundError:
            raise NotFoundError(
                f"{where} does not exist; it may have been claimed or moved by another run."
            ) from None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}:
                raise UnsafeNameError(
                    f"{where} is a link, leads through one, or is too long; deliver a plain file."
                ) from None
            if error.errno == errno.EXDEV:
                raise UnavailableError(
                    f"{where} is on another file system than its landing zone; mount the "
                    "landing zone as a whole."
                ) from None
            raise UnavailableError(
                f"{where} can't be used ({os.strerror(error.errno or 0)}); "
                "check permissions and free space."
            ) from error

    @contextmanager
    def folder(
        self, parts: Sequence[str], *, create: bool = False, is_durable: bool = True
    ) -> Iterator[int]:
        """Open a folder below the root part by part, following no link below the root.

        What `create` makes is forced to the disk, unless a lost folder would do no harm.
        """
        if create:
            self.root.mkdir(parents=True, exist_ok=True)
        opened = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=opened)
                        if is_durable:
                            os.fsync(opened)
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=opened)
                os.close(opened)
                opened = inner
            yield opened
        finally:
            os.close(opened)

    @contextmanager
    def file(self, key: str) -> Iterator[tuple[int, os.stat_result]]:
        """Open a regular file to read; a link, pipe or device raises UnsafeNameError."""
        *folder, name = parts_of(key)
        with self.folder(folder) as parent:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise NotFoundError(f"{printable(key)} in {self.location} is a folder.")
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeNameError(
                    f"{printable(key)} in {self.location} is a link, pipe or device; it belongs "
                    "in quarantine, and the sender should deliver a plain file."
                )
            opened = os.open(name, _FILE_FLAGS, dir_fd=parent)
        try:
            yield opened, os.fstat(opened)
        finally:
            os.close(opened)

    def entries(
        self, folder: Sequence[str], *, is_top: bool = True
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (name, state) of what a folder holds now; one that went away holds nothing."""
        try:
            with self.failures("/".join(folder)), self.folder(folder) as opened:
                for name in os.listdir(opened):  # noqa: PTH208 - a descriptor
                    with suppress(FileNotFoundError):
                        yield name, os.stat(name, dir_fd=opened, follow_symlinks=False)
        except NotFoundError:
            return
        except UnsafeNameError:
            if is_top:
                raise

    def remove_empty_folders(self, key: str) -> None:
        """Remove the folders that a file of this key left empty, but the topmost."""
        folder = parts_of(key)[:-1]
        while len(folder) > 1:
            try:
                with self.folder(folder[:-1]) as opened:
                    os.rmdir(folder[-1], dir_fd=opened)
            except OSError:
                return
            folder = folder[:-1]

    def remove_empty_tree(self, folder: Sequence[str]) -> None:
        """Remove a folder and those in it, unless something else is in one of them."""
        for name, found in list(self.entries(folder)):
            if stat.S_ISDIR(found.st_mode):
                self.remove_empty_tree((*folder, name))
        with suppress(OSError), self.folder(folder[:-1]) as parent:
            os.rmdir(folder[-1], dir_fd=parent)


def parts_of(key: str) -> tuple[str, ...]:
    """Split a key into its parts; raise UnsafeNameError for parts that would leave their folder."""
    parts = tuple(key.split("/"))
    try:
        is_name = b"\0" not in os.fsencode(key)
    except UnicodeEncodeError:
        is_name = False
    if not is_name or any(part in {"", ".", ".."} for part in parts):
        raise UnsafeNameError(f"The key {printable(key)} leaves its folder; use a plain name.")
    return parts
