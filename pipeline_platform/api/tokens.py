"""Bearer tokens: random texts of which only the hash is kept, each with a name and a role."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["read", "operate", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what the one before it may, and more."""
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Holder:
    """Who a token belongs to and what it allows."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether this role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Tokens:
    """Every known token as its SHA-256; the texts themselves are nowhere."""

    known: Sequence[tuple[Holder, bytes]] = ()

    @classmethod
    def parse(cls, text: str) -> "Tokens":
        """Read PLATFORM_API_TOKENS, whose form the settings have checked."""
        parts = [entry.split(":") for entry in text.split(",") if entry]
        return cls(
            [
                (Holder(name, role), bytes.fromhex(sha256))
                for name, given, sha256 in parts
                for role in ROLES
                if role == given
            ]
        )

    def holder(self, presented: str) -> Holder | None:
        """Return whose token this is; it takes as long for a wrong one as for a right one."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found = None
        for holder, sha256 in self.known:
            if hmac.compare_digest(digest, sha256):
                found = holder
        return found


def new_token(name: str, role: Role) -> tuple[str, str]:
    """Return a new token, and its entry for PLATFORM_API_TOKENS."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, f"{name}:{role}:{hashlib.sha256(token.encode()).hexdigest()}"
