"""Settings: the only reader of the environment, validated once, frozen afterwards.

Every variable starts with `PLATFORM_`; credentials of AWS keep their own names and are read by
the clients themselves. `.env.example` lists them all.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

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
Environment = Literal["local", "test", "staging", "production"]
Engine = Literal["duckdb", "spark"]


class Settings(BaseModel):
    """Where things are and how much the platform may use.

    A location is a local folder or an `s3://bucket/prefix`. The four locations are the four roles
    of the advisory data lake (SA-1): raw, processed, temp and archive. `engine` builds the dbt
    models; `spark_remote` is the cluster's address in Spark Connect's own form, which may hold a
    token. Without one the platform starts an engine of its own for each build.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    environment: Environment = "local"

    raw_location: str = ""
    processed_location: str = ""
    temp_location: str = ""
    archive_location: str = ""
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

    engine: Engine = "duckdb"
    spark_remote: SecretStr | None = None

    memory_limit: str = Field(default="2GB", pattern=r"^\d+(MB|GB)$")
    threads: int = Field(default=2, ge=1)

    @property
    def memory_limit_bytes(self) -> int:
        """The memory limit as a number of bytes."""
        unit = 1_000_000_000 if self.memory_limit.endswith("GB") else 1_000_000
        return int(self.memory_limit[:-2]) * unit

    @field_validator("spark_remote")
    @classmethod
    def _is_spark_connect(cls, address: SecretStr | None) -> SecretStr | None:
        if address is not None and not address.get_secret_value().startswith("sc://"):
            raise PydanticCustomError("address", "give an address such as sc://host:15002")
        return address

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
        }
        located = {name: values.get(name) or str(path) for name, path in defaults.items()}
        return {**values, "home": home, **located}

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
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
            raise InvalidSettingError(
                f"The setting {name} can't be used: {first['msg']}; see .env.example."
            ) from None
