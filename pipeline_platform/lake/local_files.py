"""How Iceberg's metadata is read and written in a local folder.

PyIceberg's own way imports Arrow's dataset module and with it pandas, a third of a second for
each process, and it does not force what it wrote to the disk before the catalog names it.
"""

import io
import os
from pathlib import Path

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream


class LocalFiles(FileIO):
    """Files of a local folder; locations are absolute paths."""

    def new_input(self, location: str) -> InputFile:
        """Return a file to read."""
        return _LocalInput(location)

    def new_output(self, location: str) -> "_LocalOutput":
        """Return a file to write."""
        return _LocalOutput(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file; raise FileNotFoundError when there is none."""
        Path(location if isinstance(location, str) else location.location).unlink()


class _LocalInput(InputFile):
    def __len__(self) -> int:
        return Path(self.location).stat().st_size

    def exists(self) -> bool:
        return Path(self.location).exists()

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002 - always seekable
        return Path(self.location).open("rb")


class _LocalOutput(OutputFile):
    def __len__(self) -> int:
        return Path(self.location).stat().st_size

    def exists(self) -> bool:
        return Path(self.location).exists()

    def to_input_file(self) -> _LocalInput:
        return _LocalInput(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        Path(self.location).parent.mkdir(parents=True, exist_ok=True)
        return io.BufferedWriter(_DurableFile(self.location, "wb" if overwrite else "xb"))


class _DurableFile(io.FileIO):
    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
        super().close()
