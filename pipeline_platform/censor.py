"""What no line of a log may show: secrets, and data of persons (SA-7)."""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from pipeline_platform.settings import Settings

MOST_CHARACTERS = 2000
_HIDDEN: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"://[^/\s]*@"), "://***@"),
    (
        re.compile(
            r"(?i)\b(password|passwd|pwd|secret|token|api_?key|authorization)"
            r"(['\"]?\s*[=:]\s*)(?:bearer\s+)?('[^']*'|\"[^\"]*\"|[^\s,;)}\]&]+)"
        ),
        r"\1\2***",
    ),
    (re.compile(r"(?i)\bbearer\s+\S+"), "Bearer ***"),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "***"),
    (re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b"), "[address]"),
    (
        re.compile(r"(?i)(?<![\w:.])(?:[0-9a-f]{1,4}:){3,7}(?::?[0-9a-f]{1,4}|:)(?![\w:])"),
        "[address]",
    ),
    (re.compile(r"\bKey \(([^)]*)\)=\([^)]*\)"), r"Key (\1)=(***)"),
    (
        re.compile(
            r"(?i)\b(account_id|account|user_id|visitor_id|client_address|email)"
            r"(['\"]?\s*[=:]\s*|\s+)('[^']*'|\"[^\"]*\"|(?=\S*\d)[\w./:-]+)"
        ),
        r"\1\2***",
    ),
)
"""What no line may show, whatever message it came with, and what stands in its place."""
_MAY_BE_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class Censor:
    """Takes secrets and personal data out of texts.

    Known secrets are those of the settings, whole and the passwords in addresses. The rest is known
    by its form: passwords and tokens with their name, addresses of people and machines, account
    numbers with their name.
    """

    def __init__(self, settings: Settings) -> None:
        found: set[str] = set()
        for name in type(settings).model_fields:
            value = getattr(settings, name)
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, SecretStr):
                    found |= _parts(one.get_secret_value())
        self._secrets = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return a text without them, of bounded length."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        for pattern, instead in _HIDDEN:
            text = pattern.sub(instead, text)
        text = _MAY_BE_IPV6.sub(_without_ipv6, text)
        return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _without_ipv6(found: re.Match[str]) -> str:
    """Hide an address of version 6; a time such as 12:30:05 is none."""
    text = found[0].rstrip(".:") or found[0]
    try:
        IPv6Address(text)
    except ValueError:
        return found[0]
    return "[address]" + found[0][len(text) :]


def _parts(secret: str) -> set[str]:
    """Return a secret and, of an address, its password as written and as meant."""
    found = {secret}
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    if password:
        found |= {password, unquote(password)}
    # Shorter ones would take ordinary words out of every message.
    return {one for one in found if len(one) >= 4}
