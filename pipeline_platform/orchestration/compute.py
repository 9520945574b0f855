"""How much a run may use: a setting by default, another size at launch (SA-53, SA-79)."""

import dagster as dg

from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

MEGABYTE = 1024 * 1024
SMALLEST_MEGABYTES = 512
BYTES_NEEDED_PER_BYTE_READ = 4


class ComputeSize(dg.Config):
    """Size of one step: `memory_limit` such as 4GB, and threads; what is not given is a setting."""

    memory_limit: str | None = None
    threads: int | None = None

    def sized(self, services: Services) -> Services:
        """Return the services with this size; InvalidSettingError for one that can't be."""
        return services.sized(self.memory_limit, self.threads)


def memory_for(size_bytes: int, settings: Settings) -> str:
    """Return the memory limit for a batch of files: four times their size, at least 512 MB.

    Never more than the setting, which is what one run may use: reading is streamed and spills to
    disk, so this is about speed, never about success.
    """
    needed = size_bytes * BYTES_NEEDED_PER_BYTE_READ // MEGABYTE
    most = settings.memory_bytes // 10**6
    return f"{min(most, max(SMALLEST_MEGABYTES, needed))}MB"
