"""Source mappings: where a source's files come from, how they are written, which key is what.

One YAML file per source in `sources/`; a new source is a new file, never code. `SourceMapping`
documents every key. Compression (none, gzip, zstd) is seen from the file itself.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline_platform.ingestion import mappings
from pipeline_platform.ingestion.mappings import FileName

SOURCES_FOLDER = Path(__file__).parent / "sources"
TimeFormat = Literal["iso8601", "epoch_s", "epoch_ms", "epoch_us"]
EventField = Literal[
    "event_id",
    "event_at",
    "event_type",
    "user_id",
    "anonymous_id",
    "client_address",
    "user_agent",
    "http_method",
    "status_code",
    "response_bytes",
    "duration_ms",
    "url",
    "referrer",
    "value",
    "currency",
    "properties",
]
TEXTS: tuple[EventField, ...] = tuple(
    name for name in get_args(EventField) if name not in ("event_id", "event_at")
)
"""The fields that silver reads as text from a record; bronze has the other two."""

_JSON_PATH = re.compile(r"\$(\.(\w+|\"[^\"]+\")|\[\d+\])+")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonEvents(_Part):
    """One JSON object per event, each on a line of its own or one after the other.

    `fields` says under which JSON path a field of ours lies; what no field takes is kept in
    `properties`. An event's time is written in the first of `time_formats` that fits; one without
    an offset is UTC.
    """

    kind: Literal["json_events"]
    fields: dict[EventField, str]
    time_formats: list[TimeFormat] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "event_at" not in self.fields:
            raise ValueError("fields must name event_at, the path of the event's time")
        for name, path in self.fields.items():
            if _JSON_PATH.fullmatch(path) is None:
                raise ValueError(f"{name}: {path!r} is no JSON path such as $.user.id")
        if len(set(self.fields.values())) != len(self.fields):
            raise ValueError("two fields name the same path")
        return self

    @property
    def taken_keys(self) -> list[str]:
        """The keys of an event that some field takes as a whole."""
        whole = re.compile(r"\$\.(?:(\w+)|\"([^\"]+)\")")
        found = [whole.fullmatch(path) for path in self.fields.values()]
        return [one[1] or one[2] for one in found if one]


class CombinedLog(_Part):
    """Access logs in the combined format of Apache and nginx, or in the common one.

    `site` is the address that the logged paths belong to, such as `https://www.example.com`.
    """

    kind: Literal["combined_log"]
    site: str

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        parts = urlsplit(self.site)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
            raise ValueError("site must be scheme and host, such as https://www.example.com")
        return self


class SourceMapping(_Part):
    """Everything the platform knows of one source.

    `defaults` fill what an event lacks. `logs_assets` tells that the source also logs style
    sheets, scripts and images, so that a visitor who asks for none is conspicuous. `version`
    is the SHA-256 of the file.
    """

    source: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    file_name: FileName
    format: Annotated[JsonEvents | CombinedLog, Field(discriminator="kind")]
    defaults: dict[Literal["event_type", "currency"], str] = Field(default_factory=dict)
    logs_assets: bool = False
    version: str


def load_mappings(folder: Path | None = None) -> dict[str, SourceMapping]:
    """Read every source of the folder (default: the ones shipped), by name."""
    return mappings.load_mappings(folder or SOURCES_FOLDER, SourceMapping, "source")


def mapping_for(file_name: str, known: Mapping[str, SourceMapping]) -> SourceMapping:
    """Return the source that a file's name belongs to; raise UnknownVendorError otherwise."""
    return mappings.mapping_for(file_name, known, "source")
