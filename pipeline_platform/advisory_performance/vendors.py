"""Vendor mappings: what each vendor's file looks like and what its values mean (SA-9).

One YAML file per vendor in `vendors/`; a new vendor is a new file, never code. `VendorMapping`
documents every key. Two readers use it: `deliveries.py` needs file name, format, columns, account
rule and dates to bring lines into bronze as text; `normalisation.py` needs numbers, signs, units,
codes and defaults to bring bronze into silver.
"""

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

from pipeline_platform.advisory_performance.vendor_mapping import (
    CANONICAL_CODES,
    FLOW_INDICATOR,
    FLOW_TIMINGS,
    VendorMapping,
)
from pipeline_platform.ingestion import mappings
from pipeline_platform.ingestion.mappings import InvalidMappingError

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
    return mappings.load_mapping(path, VendorMapping, "vendor")


def load_mappings(folder: Path | None = None) -> dict[str, VendorMapping]:
    """Read every `*.yaml` of the folder (default: the ones shipped) by vendor name."""
    return mappings.load_mappings(folder or VENDORS_FOLDER, VendorMapping, "vendor")


def mapping_for(file_name: str, known: Mapping[str, VendorMapping]) -> VendorMapping:
    """Return the mapping whose file-name pattern matches; raise UnknownVendorError otherwise."""
    return mappings.mapping_for(file_name, known, "vendor")
