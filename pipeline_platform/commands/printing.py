"""Printing of what vendors named and wrote: no character of theirs may steer the terminal.

Rich takes no markup from it, but lets escape sequences, text direction marks and lone surrogates
through. These are written as escapes before a table or JSON is made of the values.
"""

import re
from collections.abc import Mapping, Sequence

from pipeline_platform.commands import output

# C0 without tab and newline, DEL, C1, direction and zero-width marks, surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(value: object) -> object:
    r"""Return the value with unsafe characters of its texts written as `\x1b` or `\u202e`."""
    if isinstance(value, str):
        return _UNSAFE.sub(_escaped, value)
    if isinstance(value, Mapping):
        return {str(visible(str(name))): visible(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [visible(one) for one in value]
    return value


def show_rows(
    title: str, rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str = "Nothing."
) -> None:
    """Print rows as `output.show_rows` does, made safe."""
    safe = [{name: visible(value) for name, value in row.items()} for row in rows]
    output.show_rows(str(visible(title)), safe, as_json=as_json, empty=empty)


def show_facts(title: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print named values as `output.show_facts` does, made safe."""
    safe = {name: visible(value) for name, value in facts.items()}
    output.show_facts(str(visible(title)), safe, as_json=as_json)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
