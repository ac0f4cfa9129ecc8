"""What tokens allow: the lines of the settings and of the tokens file, as digests.

A line is `TOKEN scope[,scope] [name]`. The scopes are predict, feedback, read (reports, pages,
metrics, metadata) and admin, which allows everything. The history of a model names who acted: the
token's name.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from monitoring.api.endpoint import Scope
from serving.errors import SettingsError

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
    """The digest by which a token is known."""
    return hashlib.sha256(token.encode()).digest()
