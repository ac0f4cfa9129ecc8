"""Access control: bearer tokens with scopes, the names of this server, and the pages that may
change something.

`candor serve` and `candor monitor` put `AccessMiddleware` in front of their routes. The
endpoints declare which scope a request needs.

`hosting.tokens` reads the tokens. The history of a model names who acted: the token's name, or
`local` where there are no tokens. Health checks need no token, so that orchestrators need no
secret.

People sign in with their token in a browser, and a cookie stands for it (`hosting.tokens`).
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from operator import itemgetter
from typing import Final, TypeAlias

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from hosting.error_table import error_answer, log_error
from hosting.errors import CrossOrigin, Forbidden, ServingError, Unauthorized, UnknownHost
from hosting.head import check_head
from hosting.sender import SENDER
from hosting.settings import Settings
from hosting.tokens import (
    Grant,
    digest_of,
    is_session_of,
    new_session,
    read_grants,
    session_in,
    session_until_s,
)
from monitoring.http.endpoint import Endpoint, Scope, Viewer
from monitoring.ledger.ended_sessions import EndedSessions

ALL: Final = "*"
_KEPT: Final = 64


class OwnHosts:
    """The names of this server.

    Always its own are IP addresses, `localhost`, and names without a dot, such as a container's,
    which nobody can register. `names` are more of them; "*" allows all, ".example.org" every name
    that ends so.
    """

    def __init__(self, *names: str) -> None:
        self._all = ALL in names
        lowered = [name.lower().rstrip(".") for name in names]
        self._names = frozenset(name for name in lowered if not name.startswith("."))
        self._ends = tuple(name for name in lowered if name.startswith("."))
        self._known: set[bytes] = {
            b""
        }  # headers found allowed; one without a host is not from a browser

    def check(self, header: bytes) -> None:
        """Raise UnknownHost unless the value of a Host header names this server."""
        if header in self._known or self._all:
            return
        name = _host_name(header)
        if not (self._is_unregistrable(name) or name in self._names or name.endswith(self._ends)):
            raise UnknownHost(name)
        if len(self._known) < _KEPT and len(header) < 256:
            self._known.add(header)

    @staticmethod
    def _is_unregistrable(name: str) -> bool:
        if "." not in name and ":" not in name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return True


def _host_name(header: bytes) -> str:
    """The host of `host[:port]`, in lower case, an IPv6 address without its brackets."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


Refuse: TypeAlias = Callable[[AsgiScope, Receive, Send, ServingError], Awaitable[None]]
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE: Final = frozenset({b"same-origin", b"none"})  # none: a person, not a page
BROWSER_HEADERS: Final = frozenset({b"origin", b"sec-fetch-site"})
_name = itemgetter(0)


class AccessControl:
    """Allows or refuses requests and calls. Keeps digests of the tokens, never the tokens.

    Without tokens everyone may do everything. `hosts` are the names of this server. `origins` are
    the origins that CORS allows; "*" allows all. `ended` are the sessions that people ended.
    """

    def __init__(
        self,
        grants: Iterable[Grant] = (),
        *,
        endpoints: Iterable[Endpoint] = (),
        hosts: OwnHosts | None = None,
        origins: Iterable[str] = (),
        ended: EndedSessions | None = None,
    ) -> None:
        self.ended = ended or EndedSessions()
        self._grants = tuple(grants)
        self._needed = NeededScopes(endpoints)
        self._hosts = hosts or OwnHosts()
        self._origins = frozenset(origin.encode() for origin in origins)

    def check(self, request: AsgiScope) -> None:
        """Raise what `check_head` raises, Unauthorized, Forbidden, UnknownHost or CrossOrigin
        unless the request is allowed.

        Notes in the request's state who sends it.
        """
        headers = request["headers"]
        check_head(request)
        needed = self._needed.find(request["method"], request["path"])
        if needed is not None:
            self._hosts.check(next((value for name, value in headers if name == b"host"), b""))
        if request["method"] not in READING and not BROWSER_HEADERS.isdisjoint(map(_name, headers)):
            self.check_origin(dict(headers))
        if self._grants and needed is not None:
            given = dict(headers)
            viewer = self._viewer(given.get(b"authorization", b""), given.get(b"cookie", b""))
            request.setdefault("state", {})["viewer"] = viewer
            _check_scope(viewer, needed)

    def use(self, grants: Iterable[Grant]) -> bool:
        """Let these grants count from now on; return whether they differ from those before.

        Raises ValueError if there are none: tokens are never switched off while a process runs.
        """
        found = tuple(grants)
        if not found:
            raise ValueError("no grants: this would let everyone in")
        changed = found != self._grants
        self._grants = found
        return changed

    @property
    def is_open(self) -> bool:
        """Whether there are no tokens, so that everyone may do everything."""
        return not self._grants

    def _viewer(self, authorization: bytes, cookies: bytes) -> Viewer:
        """The holder of the token in the value of an Authorization header, or else of the session
        in a Cookie header. Raises Unauthorized.
        """
        kind, _, token = authorization.partition(b" ")
        granted = (
            self._holder(token.strip().decode("latin-1")) if kind.lower() == b"bearer" else None
        )
        signed_in = not authorization and bool(cookies)
        if signed_in:
            granted = self._of_session(cookies)
        if granted is None:
            raise Unauthorized(
                "this server requires a token; send the header Authorization: Bearer TOKEN."
            )
        return Viewer(granted.name, granted.scopes, signed_in)

    def signed_in(self, cookies: bytes) -> Viewer | None:
        """The holder of the session in a Cookie header; None if there is none."""
        granted = self._of_session(cookies)
        return None if granted is None else Viewer(granted.name, granted.scopes, signed_in=True)

    def sign_in(self, token: str) -> str:
        """A session of the token's holder. Raises Unauthorized for an unknown token."""
        granted = self._holder(token.strip())
        if granted is None:
            raise Unauthorized(
                "no such token is known here; check it for missing characters, or ask who gave it "
                "out."
            )
        return new_session(granted.digest)

    def sign_out(self, cookies: bytes) -> None:
        """End the session in a Cookie header, if there is one. Raises SQLAlchemyError."""
        if self._of_session(cookies) is not None:
            session = session_in(cookies)
            until_ns = session_until_s(session) * 10**9
            self.ended.end(digest_of(session).hex(), until_ns=until_ns)

    def _of_session(self, cookies: bytes) -> Grant | None:
        session = session_in(cookies)
        if digest_of(session).hex() in self.ended:
            return None
        return next((grant for grant in self._grants if is_session_of(grant.digest, session)), None)

    def _holder(self, token: str) -> Grant | None:
        given = digest_of(token)
        granted: Grant | None = None
        for (
            grant
        ) in self._grants:  # compares with every token, so that the time taken reveals nothing
            if hmac.compare_digest(grant.digest, given):
                granted = grant
        return granted

    def check_origin(self, headers: dict[bytes, bytes]) -> None:
        """Raise CrossOrigin for a request that a browser sends on behalf of a page of an origin
        that is not allowed.

        Clients that are not browsers send neither `Origin` nor `Sec-Fetch-Site`, and pass.
        """
        origin = headers.get(b"origin")
        if b"*" in self._origins or origin in self._origins:
            return
        if headers.get(b"sec-fetch-site", b"none") not in OWN_SITE:
            raise CrossOrigin("a page of another origin")
        if origin is not None and not self._is_own(origin, headers):
            raise CrossOrigin(f"a page of {origin[:100].decode('latin-1')!r}")

    @staticmethod
    def _is_own(origin: bytes, headers: dict[bytes, bytes]) -> bool:
        """Whether the page is this server's; a proxy may end TLS, so schemes do not count."""
        _, separator, host = origin.partition(b"://")
        return bool(separator) and host.lower() == headers.get(b"host", b"").lower()


def _check_scope(viewer: Viewer, needed: Scope) -> None:
    if not viewer.may(needed):
        scopes = ", ".join(sorted(viewer.scopes))
        raise Forbidden(f"the token's scopes are {scopes}; this needs {needed}.")


class AccessMiddleware:
    """Passes on the requests that `access` allows; `refuse` answers the others."""

    def __init__(self, app: ASGIApp, *, access: AccessControl, refuse: Refuse) -> None:
        self._app, self._access, self._refuse = app, access, refuse

    def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request. No coroutine function: another one would slow down each answer."""
        try:
            self._access.check(scope)
        except ServingError as error:
            log_error(scope["path"], error_answer(error), error)
            return self._refuse(scope, receive, send, error)
        viewer = scope.get("state", {}).get("viewer")  # None where there are no tokens
        SENDER.set((viewer.name if viewer else _address(scope), id(scope)))
        return self._app(scope, receive, send)


def _address(scope: AsgiScope) -> str:
    address, _ = scope.get("client") or ("", 0)
    return str(address)


class NeededScopes:
    """The scope that each request needs, as the endpoints declare it.

    An endpoint without a scope is open to every method. A request without an endpoint needs read,
    or admin if its method may change something; it is refused later anyway.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        endpoints = list(endpoints)
        is_open = [each for each in endpoints if each.scope is None]
        reading = [each for each in endpoints if each.method in READING]
        changing = [each for each in endpoints if each.method not in READING]
        self._reading = _Scopes([*reading, *is_open], otherwise="read")
        self._changing = _Scopes([*changing, *is_open], otherwise="admin")

    def find(self, method: str, path: str) -> Scope | None:
        """The scope, or None if the request needs no token."""
        return (self._reading if method in READING else self._changing).find(path)


class _Scopes:
    """The scopes of either the reading or the changing requests.

    Endpoints match as their routers match them: in the declared order, by Starlette's patterns. The
    hot route takes every path below its prefix.
    """

    def __init__(self, endpoints: list[Endpoint], *, otherwise: Scope) -> None:
        self._hot = tuple(
            {
                each.path.partition("{")[0]: each.scope for each in endpoints if not each.mounted
            }.items()
        )
        self._patterns = tuple(
            (compile_path(each.path)[0], each.scope) for each in endpoints if each.mounted
        )
        self._otherwise = otherwise

    def find(self, path: str) -> Scope | None:
        for prefix, scope in self._hot:
            if path.startswith(prefix):
                return scope
        path = path.rstrip("/") or "/"  # the router redirects from a path with a slash at its end
        for pattern, scope in self._patterns:
            if pattern.match(path):
                return scope
        return self._otherwise


def read_access(
    settings: Settings, endpoints: Iterable[Endpoint], *, ended: EndedSessions | None = None
) -> AccessControl:
    """The access control that the settings describe, for requests to `endpoints`.

    Raises SettingsError; a token is never part of its sentence.
    """
    grants = read_grants(settings.tokens_text, settings.tokens_file)
    hosts = OwnHosts(settings.host, *settings.hosts)
    return AccessControl(
        grants, endpoints=endpoints, hosts=hosts, origins=settings.cors_origins, ended=ended
    )
