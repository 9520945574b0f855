"""Vendor mappings: what each vendor's file looks like and what its values mean (SA-9).

One YAML file per vendor in `vendors/`; a new vendor is a new file, never code. `VendorMapping`
documents every key. Two readers use it: `deliveries.py` needs file name, format, columns, account
rule and dates to bring lines into bronze as text; `normalisation.py` needs numbers, signs, units,
codes and defaults to bring bronze into silver.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path, PurePosixPath

import yaml
from pydantic import ValidationError

from pipeline_platform.advisory_performance.vendor_mapping import (
    CANONICAL_CODES,
    FLOW_INDICATOR,
    FLOW_TIMINGS,
    VendorMapping,
)
from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.ingestion.delivery_errors import UnknownVendorError

__all__ = [
    "CANONICAL_CODES",
    "FLOW_INDICATOR",
    "FLOW_TIMINGS",
    "InvalidMappingError",
    "VendorMapping",
    "load_mapping",
    "load_mappings",
    "mapping_for",
    "parse_day",
]

VENDORS_FOLDER = Path(__file__).parent / "vendors"
_DATE_PARTS = {"%Y": r"\d{4}", "%m": r"\d{1,2}", "%d": r"\d{1,2}"}


class InvalidMappingError(InvalidSettingError):
    """A vendor mapping can't be used; the message names file and field."""


@cache
def _day_expression(pattern: str) -> re.Pattern[str]:
    has_separators = not re.search(r"%[Ymd]%[Ymd]", pattern)
    expression = re.escape(pattern)
    for part, digits in _DATE_PARTS.items():
        exact = digits if has_separators else digits.replace("{1,2}", "{2}")
        expression = expression.replace(part, f"(?P<{part[1]}>{exact})")
    return re.compile(expression, re.ASCII)


def parse_day(text: str, formats: tuple[str, ...]) -> date | None:
    """Return the day that `text` writes in one of the formats, or None.

    Day and month may lack their leading zero only next to separators, so that `2024111` is
    nothing under `%Y%m%d`.
    """
    for pattern in formats:
        found = _day_expression(pattern).fullmatch(text.strip())
        if found:
            try:
                return date(int(found["Y"]), int(found["m"]), int(found["d"]))
            except ValueError:
                continue
    return None


def load_mapping(path: Path) -> VendorMapping:
    """Read one mapping; raise InvalidMappingError that names file and field (SA-9)."""
    content = path.read_bytes()
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise InvalidMappingError(f"{path.name} is not valid YAML{line}; correct it.") from None
    if not isinstance(values, dict):
        raise InvalidMappingError(f"{path.name} must hold the keys of a vendor mapping.")
    try:
        values = {**values, "version": hashlib.sha256(content).hexdigest()}
        mapping = VendorMapping.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "mapping"
        fault = first["msg"].removeprefix("Value error, ")
        raise InvalidMappingError(f"{path.name}, field {where}: {fault}.") from None
    if mapping.vendor != path.stem:
        raise InvalidMappingError(f"{path.name}, field vendor: must be {path.stem!r} as the file.")
    return mapping


def load_mappings(folder: Path | None = None) -> dict[str, VendorMapping]:
    """Read every `*.yaml` of the folder (default: the ones shipped) by vendor name."""
    paths = sorted((folder or VENDORS_FOLDER).glob("*.yaml"))
    if not paths:
        raise InvalidMappingError(f"No vendor mapping (*.yaml) found in {folder}.")
    return {mapping.vendor: mapping for mapping in map(load_mapping, paths)}


def mapping_for(file_name: str, mappings: Mapping[str, VendorMapping]) -> VendorMapping:
    """Return the mapping whose file-name pattern matches; raise UnknownVendorError otherwise."""
    name = PurePosixPath(file_name).name
    matching = [m for m in mappings.values() if re.fullmatch(m.file_name.pattern, name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        vendors = ", ".join(sorted(mapping.vendor for mapping in matching))
        raise UnknownVendorError(
            f"The file name {name!r} matches more than one vendor ({vendors}); "
            f"make their file_name patterns distinct."
        )
    raise UnknownVendorError(
        f"No vendor mapping matches the file name {name!r}; rename the file or add a mapping "
        f"(`vendor check` suggests one)."
    )
