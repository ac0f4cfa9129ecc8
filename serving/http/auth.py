"""Who may do what: optional bearer tokens with scopes, compared in constant time.

A line of the tokens is `TOKEN scope[,scope]`. Scopes: predict, feedback, read (reports, pages, metrics, metadata) and
admin, which may do everything. Health is open to everybody, so that an orchestrator needs no secret.
"""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from starlette.types import Scope as Connection

from serving.errors import Forbidden, SettingsError, Unauthorized

Scope: TypeAlias = Literal["predict", "feedback", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
OPEN: Final = frozenset({"/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"})
SHORTEST: Final = 16
READING: Final = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Knows the digests of the tokens, never the tokens. Without any, everybody may do everything."""

    def __init__(self, grants: Iterable[tuple[str, frozenset[Scope]]] = ()) -> None:
        self._grants = tuple((_digest(token), scopes) for token, scopes in grants)

    def check(self, connection: Connection) -> None:
        """Let the request pass or raise Unauthorized or Forbidden."""
        if self._grants and connection["path"] not in OPEN:
            header = next((value for name, value in connection["headers"] if name == b"authorization"), b"")
            self.check_token(header, scope_of(connection["method"], connection["path"]))

    def check_token(self, authorization: bytes, scope: Scope) -> None:
        """Let an Authorization header pass that grants `scope`; raises Unauthorized or Forbidden."""
        if not self._grants:
            return
        kind, _, token = authorization.partition(b" ")
        given = _digest(token.strip().decode("latin-1"))
        granted: frozenset[Scope] | None = None
        for digest, scopes in self._grants:  # all of them, whichever fits: the time taken tells nothing
            if hmac.compare_digest(digest, given):
                granted = scopes
        if granted is None or kind.lower() != b"bearer":
            raise Unauthorized("this server wants a token: send the header Authorization: Bearer TOKEN.")
        if scope not in granted and "admin" not in granted:
            raise Forbidden(f"the token's scopes are {', '.join(sorted(granted))}; this needs {scope}.")


def scope_of(method: str, path: str) -> Scope:
    """The scope that a request needs.

    >>> scope_of("POST", "/predictions/m"), scope_of("POST", "/v2/models/m/infer"), scope_of("GET", "/metrics")
    ('predict', 'predict', 'read')
    >>> scope_of("POST", "/feedback"), scope_of("POST", "/predictions-log"), scope_of("POST", "/models-log")
    ('feedback', 'predict', 'admin')
    """
    if method in READING:
        return "read"
    if (
        path.startswith("/predictions/")
        or path.rstrip("/") == "/predictions-log"
        or (path.startswith("/v2/") and path.endswith("/infer"))
    ):
        return "predict"
    return "feedback" if path.rstrip("/") == "/feedback" else "admin"


def read_gate(text: str | None, file: Path | None) -> Gate:
    """The gate that the settings describe: `text` (lines, or parts between semicolons) and the lines of `file`.

    Raises SettingsError; a token is never part of its sentence.
    """
    lines = (text or "").replace(";", "\n").splitlines()
    if file is not None:
        try:
            lines += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the tokens file {file} cannot be read ({error})") from error
    wanted = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if (text or file) and not wanted:
        raise SettingsError(
            "tokens are asked for but there is none; give lines of `TOKEN scope[,scope]`, or unset them"
        )
    return Gate(_grant(number, words) for number, words in enumerate(wanted, 1))


def _grant(number: int, words: list[str]) -> tuple[str, frozenset[Scope]]:
    scopes = frozenset(words[1].split(",")) if len(words) == 2 else frozenset()
    if not scopes or not scopes <= set(SCOPES):
        raise SettingsError(f"token {number}: expected `TOKEN scope[,scope]` with scopes among {', '.join(SCOPES)}")
    if len(words[0]) < SHORTEST:
        raise SettingsError(f"token {number} is shorter than {SHORTEST} characters; make one: openssl rand -hex 32")
    return words[0], scopes  # type: ignore[return-value]  # checked above


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
