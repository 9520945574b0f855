"""Which code made a number: a hash over the package's own sources and configuration."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
MODELS = PACKAGE.parent / "dbt_project"
"""The models of the marts, beside the package."""
SUFFIXES = {".py", ".yaml", ".sql"}


@cache
def code_version() -> str:
    """Return the version of the code as it was when this process first asked."""
    return code_version_on_disk()


def code_version_on_disk() -> str:
    """Return twelve hexadecimal digits that change whenever the platform's code changes.

    Works without Git, so that an installed package and a checkout of the same code agree.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in SUFFIXES:
            digest.update(str(path.relative_to(PACKAGE)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def code_files() -> Mapping[str, str]:
    """Return the hash of each file of code and of the marts' models, as they were when first asked.

    Which of two versions' files differ says what a deployment changed.
    """
    return {
        str(path.relative_to(PACKAGE.parent)): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for folder in (PACKAGE, MODELS)
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES and "target" not in path.parts
    }
