"""Who looks at a page, and what it may offer: nobody should see a button that is then refused."""

from typing import Final, NamedTuple, get_args

from starlette.requests import Request

from monitoring.api.endpoint import LOCAL, Scope

_ALLOWED: Final[dict[Scope, str]] = {
    "read": "see pages",
    "predict": "try images",
    "feedback": "label answers",
    "admin": "act on versions and alarms",
}


class Viewer(NamedTuple):
    """The holder of a token, or everyone where there are no tokens; `signed_in` by a session of
    this browser.
    """

    name: str
    scopes: frozenset[Scope]
    signed_in: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether a request that needs this scope is allowed."""
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
