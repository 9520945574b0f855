"""Settings: the only reader of the environment, validated once, frozen afterwards.

Every variable starts with `PLATFORM_`; credentials of AWS keep their own names and are read by
the clients themselves. `.env.example` lists them all.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline_platform.failures import InvalidSettingError

PREFIX = "PLATFORM_"
ENGINE_SHARE = 2
"""DuckDB gets one part in so many of the memory limit: it takes more than it counts."""
WAITING_SHARE = 16
"""Rows that wait for their Parquet file take one part in so many, as Arrow counts them."""
BYTES_PER_THREAD = 60_000_000
"""What a thread of DuckDB needs to read, type and write wide rows (measured: fails with 32 MB)."""
BYTES_PER_FILE = 1_000_000_000
"""Of so much memory another file is read beside the first."""
SMALLEST_MEMORY_BYTES = ENGINE_SHARE * 64_000_000
"""With less than 64 MB DuckDB can't judge delivered records, even with one thread (measured)."""
_ENTRY = r"[a-z][a-z0-9_-]{0,39}:(?:read|operate|admin):[0-9a-f]{64}"
TOKENS = re.compile(rf"{_ENTRY}(?:,{_ENTRY})*")
"""What PLATFORM_API_TOKENS may be: who, which role, and the SHA-256 of the token itself."""
LOG_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_LEVEL = "(?:debug|info|warning|error)"
Environment = Literal["local", "test", "staging", "production"]
Engine = Literal["duckdb", "spark"]


def addresses_by_channel(text: str) -> dict[str, str]:
    """Read channels' addresses: a JSON object of names and addresses; no error repeats any."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise PydanticCustomError("channels", 'give a JSON object such as {"slack": "slack://..."}')
    return found


class Settings(BaseModel):
    """Where things are and how much the platform may use.

    A location is a local folder or an `s3://bucket/prefix`. The first four are the four roles
    of the advisory data lake (SA-1): raw, processed, temp and archive; a fifth keeps backups.
    `engine` builds the dbt models; `spark_remote` is the cluster's address in Spark Connect's own
    form, which may hold a token. Without one the platform starts an engine of its own for each
    build. `api_url` is where people's browsers find the HTTP service. `channels` are the
    addresses of the channels that the runbooks' routes name. `log_level` is the least level that
    is logged, such as `info` or `info,web_events=debug`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    environment: Environment = "local"

    raw_location: str = ""
    processed_location: str = ""
    temp_location: str = ""
    archive_location: str = ""
    backups_location: str = ""
    second_backups_location: str = ""
    second_backups_region: str = ""
    arrivals_queue_url: str | None = None
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    events_stream: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    kinesis_endpoint: str | None = None

    database_url: SecretStr | None = None
    database_secret_name: str | None = None
    reporting_database_url: SecretStr | None = None
    database_connections: int = Field(default=8, ge=2, le=80)

    catalog: Literal["sql", "glue", "rest"] = "sql"
    catalog_uri: str | None = None

    channels: dict[str, SecretStr] = Field(default_factory=dict)
    channels_secret_name: str | None = None

    api_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+(/\S*)?$")
    api_tokens: SecretStr | None = None
    api_requests_per_minute: int = Field(default=6000, ge=1)

    cost_source: Literal["cost_explorer"] | None = None
    cloudwatch_region: str | None = Field(default=None, pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    security_source: Literal["aws"] | None = None

    lineage_url: str | None = Field(
        default=None, pattern=r"^(https?://[^\s/@]+(/[^\s@]*)?|file:///\S+)$"
    )
    lineage_api_key: SecretStr | None = None

    log_format: Literal["human", "json"] | None = None
    log_level: str | None = Field(default=None, pattern=rf"^{_LEVEL}(,[a-z][a-z0-9_]*={_LEVEL})*$")

    engine: Engine = "duckdb"
    spark_remote: SecretStr | None = None

    memory_limit: str = Field(default="2GB", pattern=r"^\d+(MB|GB)$")
    threads: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _refuse_tiny_memory(self) -> Self:
        if self.memory_bytes < SMALLEST_MEMORY_BYTES:
            raise ValueError(
                f"PLATFORM_MEMORY_LIMIT is {self.memory_limit}, but no run works with less than "
                f"{SMALLEST_MEMORY_BYTES // 10**6}MB; set at least that"
            )
        return self

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return int(self.memory_limit[:-2]) * (10**9 if self.memory_limit.endswith("GB") else 10**6)

    @property
    def writes_json_logs(self) -> bool:
        """Whether the log is of JSON lines: in staging and production, unless it is set."""
        if self.log_format is not None:
            return self.log_format == "json"
        return self.environment in ("staging", "production")

    @property
    def log_levels(self) -> tuple[int, dict[str, int]]:
        """The least level that is logged, and that of pipelines which have their own (SC-68).

        `info` for JSON lines and `warning` for people, unless it is set.
        """
        default = "info" if self.writes_json_logs else "warning"
        first, *others = (self.log_level or default).split(",")
        named = (one.split("=") for one in others)
        return LOG_LEVELS[first], {name: LOG_LEVELS[level] for name, level in named}

    @property
    def engine_memory_limit(self) -> str:
        """What DuckDB may take of the memory limit; the rest is for Arrow, NumPy and Python."""
        return f"{self.memory_bytes // ENGINE_SHARE // 10**6}MB"

    @property
    def file_memory_limit(self) -> str:
        """What the DuckDB of one of the files may take that are read side by side."""
        return f"{self.memory_bytes // ENGINE_SHARE // self.files_at_once // 10**6}MB"

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of rows may wait for their Parquet files, in all files of a step."""
        return self.memory_bytes // WAITING_SHARE

    @property
    def engine_threads(self) -> int:
        """How many threads DuckDB may use: each needs memory of its own."""
        return max(1, min(self.threads, self.memory_bytes // ENGINE_SHARE // BYTES_PER_THREAD))

    @property
    def files_at_once(self) -> int:
        """How many arrived files are read side by side; each gets its part of memory and threads.

        Reading one can't keep all threads busy: its lines come one after the other.
        """
        return max(1, min(self.threads, self.memory_bytes // BYTES_PER_FILE))

    @field_validator("spark_remote")
    @classmethod
    def _is_spark_connect(cls, address: SecretStr | None) -> SecretStr | None:
        if address is not None and not address.get_secret_value().startswith("sc://"):
            raise PydanticCustomError("address", "give an address such as sc://host:15002")
        return address

    @field_validator("channels", mode="before")
    @classmethod
    def _is_mapping_of_addresses(cls, given: object) -> object:
        return addresses_by_channel(given) if isinstance(given, str) else given

    @field_validator("api_tokens")
    @classmethod
    def _are_tokens(cls, tokens: SecretStr | None) -> SecretStr | None:
        if tokens is not None and not TOKENS.fullmatch(tokens.get_secret_value()):
            raise PydanticCustomError(
                "tokens",
                "give name:role:sha256 entries, separated by commas, with the role read, operate "
                "or admin; `pipeline-platform token NAME --role ROLE` makes one",
            )
        return tokens

    @model_validator(mode="before")
    @classmethod
    def _default_locations(cls, values: dict[str, object]) -> dict[str, object]:
        home = Path(str(values["home"])).expanduser().absolute() if values.get("home") else None
        if home is None:
            return values
        defaults = {
            "raw_location": home / "landing",
            "processed_location": home / "lake",
            "temp_location": home / "temp",
            "archive_location": home / "archive",
            "backups_location": home / "backups",
        }
        located = {name: values.get(name) or str(path) for name, path in defaults.items()}
        return {**values, "home": home, **located}

    def to_env(self) -> dict[str, str]:
        """Return the variables from which another process reads the same settings."""
        revealed = {name: _revealed(getattr(self, name)) for name in type(self).model_fields}
        return {PREFIX + name.upper(): text for name, text in revealed.items() if text}

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read `PLATFORM_*` variables; raise InvalidSettingError that names the wrong one."""
        variables = os.environ if environment is None else environment
        values: dict[str, object] = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in variables.items()
            if name.startswith(PREFIX) and value
        }
        values.setdefault("home", str(Path.cwd() / ".platform"))
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> "Settings":
        """Return settings of these values; raise InvalidSettingError that names the wrong one."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            if not first["loc"]:
                raise InvalidSettingError(f"{first['ctx']['error']}; see .env.example.") from None
            name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
            raise InvalidSettingError(
                f"The setting {name} can't be used: {first['msg']}; see .env.example."
            ) from None


def _revealed(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps({name: _revealed(one) for name, one in value.items()}) if value else ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)
