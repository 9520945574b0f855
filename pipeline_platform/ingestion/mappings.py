"""Files that say how a vendor's or a source's deliveries are read: data, never code (SA-9).

One YAML file each, named as what it describes; a new vendor or source is a new file. The model of
such a file is the pipeline's own; here stands what all of them share.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.ingestion.delivery_errors import UnknownVendorError
from pipeline_platform.quality.strict_yaml import read_yaml
from pipeline_platform.streams.batch_files import is_batch_name


class InvalidMappingError(InvalidSettingError):
    """A mapping can't be used; the message names file and field."""


class FileName(BaseModel):
    """Which files it is for: `pattern` (regular expression) must match the whole base name.

    For a stream it must match the whole name of its batches, `kinesis/<stream>/<shard>/<numbers>`.

    `example` is a name that matches, for people and tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    example: str

    @model_validator(mode="after")
    def _example_matches(self) -> Self:
        try:
            matches = re.fullmatch(self.pattern, self.example)
        except re.error as error:
            raise ValueError(f"pattern is not a regular expression ({error})") from None
        if not matches:
            raise ValueError(f"example {self.example!r} does not match the pattern")
        return self


class DeliveryMapping(Protocol):
    """What the platform must know of a mapping."""

    @property
    def file_name(self) -> FileName:
        """What its deliveries are called."""


Kind = Literal["vendor", "source"]
Mapped = TypeVar("Mapped", bound=DeliveryMapping)
Model = TypeVar("Model", bound=BaseModel)


def load_mapping(path: Path, model: type[Model], kind: Kind) -> Model:
    """Read one mapping, whose key `vendor` or `source` must repeat the file's name.

    The model gets `version`, the SHA-256 of the file. Raises InvalidMappingError that names file
    and field.
    """
    try:
        values = read_yaml(path)
    except UnicodeDecodeError:
        raise InvalidMappingError(f"{path.name} is not UTF-8; save it as that.") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise InvalidMappingError(f"{path.name} is not valid YAML{line}; correct it.") from None
    if not isinstance(values, dict):
        raise InvalidMappingError(f"{path.name} must hold the keys of a {kind} mapping.")
    try:
        version = hashlib.sha256(path.read_bytes()).hexdigest()
        mapping = model.model_validate({**values, "version": version})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "mapping"
        fault = first["msg"].removeprefix("Value error, ")
        raise InvalidMappingError(f"{path.name}, field {where}: {fault}.") from None
    if getattr(mapping, kind) != path.stem:
        raise InvalidMappingError(f"{path.name}, field {kind}: must be {path.stem!r} as the file.")
    return mapping


def load_mappings(folder: Path, model: type[Model], kind: Kind) -> dict[str, Model]:
    """Read every `*.yaml` of a folder, by name."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise InvalidMappingError(f"No {kind} mapping (*.yaml) found in {folder}.")
    return {path.stem: load_mapping(path, model, kind) for path in paths}


def mapping_for(file_name: str, mappings: Mapping[str, Mapped], kind: Kind) -> Mapped:
    """Return the mapping whose file-name pattern matches; raise UnknownVendorError otherwise.

    A stream's batch is known by its whole name, which begins with the stream's.
    """
    name = file_name if is_batch_name(file_name) else PurePosixPath(file_name).name
    matching = {
        key: one for key, one in mappings.items() if re.fullmatch(one.file_name.pattern, name)
    }
    if len(matching) == 1:
        return next(iter(matching.values()))
    if matching:
        raise UnknownVendorError(
            f"The file name {name!r} matches more than one {kind} ({', '.join(sorted(matching))}); "
            f"make their file_name patterns distinct."
        )
    raise UnknownVendorError(
        f"No {kind} mapping matches the file name {name!r}; rename the file or add a mapping "
        f"(`{kind} check` tries one)."
    )
