"""An operation of the API, declared once: its route, the token's scope that it needs, and its
description.

Each room has a table of endpoints whose handlers are methods of its classes. `bind` gives them the
instances, routers mount them (`routes_of`), and hosting.openapi describes them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store.tags import is_key
from monitoring.errors import QueryInvalid, brief
from monitoring.http.json_body import encode
from monitoring.http.query import NoQuery, parameters_of

JSON: Final = "application/json"
LOCAL: Final = "local"  # who acts where there are no tokens
PAGES: Final = "pages"  # the tag of what is for people
_EXACT_TAGS: Final = frozenset((PAGES, "calibration", "feedback", "logged predictions"))
_GUARDED: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
Scope: TypeAlias = Literal["predict", "feedback", "read", "admin"]
Handler: TypeAlias = Callable[..., Awaitable[Any]]


class ErrorBody(Struct, frozen=True):
    """Why a request was refused."""

    error: Annotated[
        str, Meta(description="a code that does not change", examples=["unknown_model"])
    ]
    detail: Annotated[
        str, Meta(description="a sentence: what was sent, what was expected, what to do")
    ]


@dataclass(frozen=True)
class Header:
    """A header that an operation reads; `kind` is its type."""

    name: str
    kind: Any
    description: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        handler: takes the request, returns a Response or a value that is sent as JSON; its return
            annotation is the type of the answer.
        scope: what a token must grant, which the access control checks; None if no token is needed.
            It has no default: an endpoint that forgets it cannot be declared.
        takes: the type of the body by media type; `body_optional`: it may be left out.
        gives: the type of the answer by media type, if it is not the JSON of what `handler`
            returns.
        otherwise: types of answers with other statuses that are not plain errors.
        refuses: the errors that it raises; hosting's table of errors knows their statuses.
        error: the type of an error's body.
        query: the type of the query, whose fields are its parameters; `queries`: names of more of
            them, on pages that read an address as they read their form.
        takes_tags: whether parameters of other names are keys of tags.
        mounted: whether a router mounts it; the hot route is answered before the router.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    tag: str
    summary: str = ""
    scope: Scope | None
    takes: Mapping[str, Any] = field(default_factory=dict)
    body_optional: bool = False
    gives: Mapping[str, Any] = field(default_factory=dict)
    otherwise: Mapping[int, Any] = field(default_factory=dict)
    query: type[Struct] = NoQuery
    headers: Sequence[Header] = ()
    refuses: Sequence[type[Exception]] = ()
    error: Any = ErrorBody
    queries: Sequence[str] = ()
    takes_tags: bool = False
    mounted: bool = True

    @property
    def known(self) -> list[str]:
        return [*self.queries, *parameters_of(self.query)]

    @property
    def is_exact(self) -> bool:
        """Whether a query that it does not know is refused: its answer would be taken for what was
        asked.

        Pages and their forms are, and all that reports, labels and logged predictions do. What
        other programs define is not: metrics, health checks and the routes of other model servers.
        """
        return self.tag in _EXACT_TAGS

    @property
    def refused(self) -> Sequence[type[Exception]]:
        """All errors that it may answer, without those of access."""
        return (*self.refuses, QueryInvalid) if self.is_exact else self.refuses

    def route(self) -> Route:

        async def answer(request: Request) -> Response:
            if self.is_exact:
                check_query(request.query_params.multi_items(), self.known, tags=self.takes_tags)
            answered = await self.handler(request)
            return answered if isinstance(answered, Response) else as_json(answered)

        return Route(self.path, answer, methods=[self.method])


def bind(endpoints: Iterable[Endpoint], *owners: object) -> list[Endpoint]:
    """The endpoints with methods of `owners`. Raises KeyError if an owner is missing."""
    by_class = {type(owner).__qualname__: owner for owner in owners}

    def bound(handler: Handler) -> Handler:
        of_class, _, name = handler.__qualname__.rpartition(".")
        method: Handler = getattr(by_class[of_class], name)
        return method

    return [
        replace(each, handler=bound(each.handler)) if each.mounted else each for each in endpoints
    ]


def routes_of(endpoints: Iterable[Endpoint]) -> list[Route]:
    return [each.route() for each in endpoints if each.mounted]


def check_query(
    items: Sequence[tuple[str, str]], known: Sequence[str], *, tags: bool = False
) -> None:
    """Raise QueryInvalid for a parameter that is not known, or is there more than once. `tags`: the
    key of a tag is known, too.

    >>> check_query([("version", "2")], ["version", "window"])
    """
    names = [name for name, _ in items]
    for name in names:
        if name not in known and not (tags and is_key(name)):
            expected = ", ".join(known) or "no parameters"
            raise QueryInvalid(
                f"This address does not know the parameter {brief(name)}; it knows {expected}."
            )
        if names.count(name) > 1:
            raise QueryInvalid(
                f"The address gives '{name}' {names.count(name)} times; give it once."
            )


def as_json(value: Any, *, status: int = 200) -> Response:
    return Response(encode(value), status, headers=_GUARDED, media_type=JSON)


_ALLOWED: Final[dict[Scope, str]] = {
    "read": "see pages",
    "predict": "try images",
    "feedback": "label answers",
    "admin": "act on versions and alarms",
}


class Viewer(NamedTuple):
    """The holder of a token, or everyone without tokens; `signed_in`: by a session."""

    name: str
    scopes: frozenset[Scope]
    signed_in: bool = False

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    @property
    def sentence(self) -> str:
        """What the viewer may do, as the end of a sentence that begins with "may".

        >>> Viewer("tom", frozenset({"read", "predict"})).sentence
        'see pages and try images'
        """
        allowed = [words for scope, words in _ALLOWED.items() if self.may(scope)]
        return " and ".join([", ".join(allowed[:-1]), allowed[-1]] if len(allowed) > 1 else allowed)


NOBODY: Final = Viewer("", frozenset())
EVERYONE: Final = Viewer(LOCAL, frozenset(get_args(Scope)))


def read_viewer(request: Request) -> Viewer:
    """The viewer whom access control has noted in the request's state."""
    found: Viewer = getattr(request.state, "viewer", EVERYONE)
    return found


def read_actor(request: Request) -> str:
    """Who sends the request: the name of its token, `local` without tokens."""
    return read_viewer(request).name


def wants_page(scope: Mapping[str, Any]) -> bool:
    """Whether the request is from a person's browser, which asks for HTML by name."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
