"""Sessions of people who sign in with their token: a cookie that proves the token without holding
it.

The cookie is `EXPIRY.MAC`: a time in seconds since 1970, and its HMAC-SHA256 under the digest of
the token. So no process keeps sessions, every replica with the same tokens accepts them, and taking
a token away ends its sessions.
"""

import hashlib
import hmac
import time
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "candor_session"
LIFETIME_S: Final = 12 * 3600
_PURPOSE: Final = b"candor session until "


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


def session_in(cookies: bytes) -> str:
    """The session in a Cookie header; empty if there is none."""
    try:
        found = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _mac(digest: bytes, until: str) -> str:
    return hmac.new(digest, _PURPOSE + until.encode(), hashlib.sha256).hexdigest()
