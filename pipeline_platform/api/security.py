"""Who asks and what they may: tokens, roles, rate limits, and a record of what is refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import (
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
)

from pipeline_platform.api.rate_limit import RateLimit
from pipeline_platform.api.tokens import Holder, Role, Tokens
from pipeline_platform.logs import hashed
from pipeline_platform.services import Services
from pipeline_platform.warehouse.operator_actions import Action, record_action

FAILED_LOGINS_PER_MINUTE = 30
ANONYMOUS = Holder("anonymous", "read")
_bearer = HTTPBearer(auto_error=False, description="`pipeline-platform token` makes one.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
_basic = HTTPBasic(auto_error=False, description="Any name, and the token as password.")
_Password = Annotated[HTTPBasicCredentials | None, Security(_basic)]


@dataclass(frozen=True)
class Caller:
    """Who makes a request, and from where."""

    holder: Holder
    address: str

    def action(self, name: str, target: str, reason: str | None = None) -> Action:
        """Begin the record of something that the caller does."""
        return Action(self.holder.name, name, target, self.address, reason)


@dataclass
class Gate:
    """Lets callers in: one per service, put into the application's state."""

    services: Services
    tokens: Tokens
    requests: RateLimit
    failures: RateLimit = field(default_factory=lambda: RateLimit(FAILED_LOGINS_PER_MINUTE))

    def caller(
        self, request: Request, credentials: HTTPAuthorizationCredentials | None, role: Role
    ) -> Caller:
        """Return who asks; raise HTTPException 401, 403 or 429."""
        address = request.client.host if request.client else "unknown"
        holder = self._holder(request, address, credentials, role)
        request.state.user_id = hashed(holder.name)
        # An address may stand for many clients, a token for one.
        client = address if holder is ANONYMOUS else holder.name
        _wait(self.requests.seconds_to_wait(client))
        if not holder.may(role):
            detail = f"The token of {holder.name} may {holder.role}; this needs {role}."
            self._refused(request, holder.name, address, detail)
            raise HTTPException(403, detail)
        return Caller(holder, address)

    def _holder(
        self,
        request: Request,
        address: str,
        credentials: HTTPAuthorizationCredentials | None,
        role: Role,
    ) -> Holder:
        if credentials is None and role == "read" and not self.tokens.known:
            return ANONYMOUS
        holder = self.tokens.holder(credentials.credentials) if credentials else None
        if holder is not None:
            return holder
        _wait(self.failures.seconds_to_wait(address))
        if not self.tokens.known:
            detail = "No token is known; set PLATFORM_API_TOKENS (`pipeline-platform token`)."
        elif credentials is None:
            detail = f"Send a token that may {role}: Authorization: Bearer TOKEN."
        else:
            detail = "This token is not known."
        self._refused(request, "unknown", address, detail)
        raise HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})

    def _refused(self, request: Request, actor: str, address: str, reason: str) -> None:
        """Keep a refused attempt to change something; what only reads is not kept."""
        if request.method == "GET":
            return
        name = str(getattr(request.scope.get("route"), "name", request.method))
        action = Action(actor, name, request.url.path[:200], address, reason)
        with self.services.database.transaction() as connection:
            record_action(connection, action, "refused")


def require(role: Role) -> Callable[..., Caller]:
    """Return the dependency of an endpoint that needs this role."""

    def caller(request: Request, credentials: _Credentials) -> Caller:
        gate: Gate = request.app.state.gate
        return gate.caller(request, credentials, role)

    return caller


def browser(request: Request, credentials: _Credentials, password: _Password) -> Caller:
    """Return who reads a page: a browser can't send a bearer token, but asks for a password.

    Only what is read may be asked for like this: browsers send passwords on their own.
    """
    gate: Gate = request.app.state.gate
    if credentials is None and password is not None:
        credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=password.password)
    try:
        return gate.caller(request, credentials, "read")
    except HTTPException as error:
        if error.status_code != 401:
            raise
        asked = {"WWW-Authenticate": 'Basic realm="pages", Bearer'}
        raise HTTPException(401, error.detail, headers=asked) from None


BrowserReader = Annotated[Caller, Depends(browser)]
Reader = Annotated[Caller, Depends(require("read"))]
Operator = Annotated[Caller, Depends(require("operate"))]
Admin = Annotated[Caller, Depends(require("admin"))]


def _wait(seconds: float) -> None:
    if seconds:
        whole = str(int(seconds) + 1)
        detail = f"Too many requests; the next one is welcome in {whole} s."
        raise HTTPException(429, detail, headers={"Retry-After": whole})
