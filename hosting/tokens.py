"""Tokens and sessions: what a token allows, and the cookie that proves a token without holding it.

A line of the settings or of the tokens file is `TOKEN scope[,scope] [name]`. The scopes are
predict, feedback, read (reports, pages, metrics, metadata) and admin, which allows everything. The
history of a model names who acted: the token's name.

The cookie of people who sign in is `EXPIRY.MAC`: a time in seconds since 1970, and its HMAC-SHA256
under the digest of the token. So no process keeps sessions, every replica with the same tokens
accepts them, and taking a token away ends its sessions. Only those that people end are kept
(`monitoring.ledger.ended_sessions`).
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from hosting.errors import SettingsError
from monitoring.http.endpoint import Scope

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MIN_TOKEN_LENGTH: Final = 16
MAX_NAME_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Grant:
    """What the token with this digest allows; `name` is its holder in the history."""

    digest: bytes
    scopes: frozenset[Scope]
    name: str


def read_grants(text: str | None, file: Path | None) -> list[Grant]:
    """The grants in `text` (lines, or parts between semicolons) and in the lines of `file`.

    Raises SettingsError, also if a setting asks for tokens but gives none: that must not open the
    server to all.
    """
    lines = (text or "").replace(";", "\n").splitlines()
    if file is not None:
        try:
            lines += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"the tokens file {file} cannot be read ({reason})") from None
    wanted = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not wanted and (text is not None or file is not None):
        raise SettingsError(
            "CANDOR_TOKENS or CANDOR_TOKENS_FILE is set but gives no token; write `TOKEN "
            "scope[,scope] [name]`, or "
            "unset it to let everyone in"
        )
    grants = [_grant(number, words) for number, words in enumerate(wanted, 1)]
    if len({grant.digest for grant in grants}) < len(grants):
        raise SettingsError(
            "two of the tokens are equal; give each its own line once, with all its scopes"
        )
    return grants


def _grant(number: int, words: list[str]) -> Grant:
    scopes = frozenset(words[1].split(",")) if 2 <= len(words) <= 3 else frozenset()
    if not scopes or not scopes <= set(SCOPES):
        raise SettingsError(
            f"token {number}: expected `TOKEN scope[,scope] [name]` with scopes among "
            f"{', '.join(SCOPES)}"
        )
    if len(words[0]) < MIN_TOKEN_LENGTH or not words[0].isascii():
        raise SettingsError(
            f"token {number} has less than {MIN_TOKEN_LENGTH} characters, or is not ASCII; make "
            "one: "
            "openssl rand -hex 32"
        )
    name = words[2] if len(words) == 3 else f"token {number}"
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise SettingsError(
            f"the name of token {number} must have at most {MAX_NAME_LENGTH} printable characters"
        )
    return Grant(digest_of(words[0]), scopes, name)  # type: ignore[arg-type]  # the scopes are checked above


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


COOKIE: Final = "candor_session"
LIFETIME_S: Final = 12 * 3600
_PURPOSE: Final = b"candor session until "
_OWN_COOKIE: Final = re.compile(r'(?:^|;)[ \t]*(candor_[a-z_]+)="?([^;" \t]*)')


def new_session(digest: bytes, *, now_s: float | None = None) -> str:
    """A session of the holder of the token with this digest."""
    until = str(int((time.time() if now_s is None else now_s) + LIFETIME_S))
    return f"{until}.{_mac(digest, until)}"


def is_session_of(digest: bytes, session: str, *, now_s: float | None = None) -> bool:
    """Whether the session was made with this digest and has not ended."""
    until, _, mac = session.partition(".")
    is_known = hmac.compare_digest(mac.encode(), _mac(digest, until).encode())
    is_number = until.isascii() and until.isdigit() and len(until) < 16
    return is_known and is_number and (time.time() if now_s is None else now_s) < int(until)


def session_until_s(session: str) -> int:
    """When a session that was made here ends by itself, in seconds since 1970."""
    return int(session.partition(".")[0])


def own_cookies(header: bytes) -> dict[str, str]:
    """The cookies in a Cookie header that Candor set, by name.

    Not by `http.cookies`, which takes 40 ms for a header of 60 KB.

    >>> own_cookies(b'a=b; candor_zone="Europe/Berlin"; candor_session=1.f')
    {'candor_zone': 'Europe/Berlin', 'candor_session': '1.f'}
    """
    return dict(_OWN_COOKIE.findall(header.decode("latin-1")))


def session_in(cookies: bytes) -> str:
    """The session in a Cookie header; empty if there is none."""
    return own_cookies(cookies).get(COOKIE, "")


def _mac(digest: bytes, until: str) -> str:
    return hmac.new(digest, _PURPOSE + until.encode(), hashlib.sha256).hexdigest()
