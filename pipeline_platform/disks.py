"""The disks of this machine that the platform writes to, and how full they are."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.settings import Settings


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk below one place of the settings."""

    total: int
    used: int
    free: int

    @property
    def used_pct(self) -> float:
        """Share in use of what may be used, in percent: as `df` says, without what root keeps."""
        return 100 * self.used / (self.used + self.free or 1)


def disks(settings: Settings) -> Mapping[str, Disk]:
    """Return the disk of each place that is a folder; what lies in S3 has none."""
    places = {
        "home": str(settings.home),
        "landing": settings.raw_location,
        "archive": settings.archive_location,
        "lake": settings.processed_location,
        "temporary files": settings.temp_location,
    }
    return {
        name: Disk(*shutil.disk_usage(_existing(place)))
        for name, place in places.items()
        if "://" not in place
    }


def _existing(place: str) -> Path:
    """Return the nearest folder that exists; a lake's own is made by its first table."""
    return next(path for path in (Path(place), *Path(place).parents) if path.exists())
