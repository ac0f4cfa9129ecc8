"""The list of cases that somebody keeps for a meeting: ids in a cookie, and one file to take along.

The file holds pictures only where its reader says that they may leave.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.endpoints import form_reader
from console.formatting import answers_path
from console.rendering import FILE_HEADERS, render
from hosting.tokens import own_cookies
from monitoring.errors import FormInvalid
from monitoring.feedback.body import read_uuid
from monitoring.routes.request import BodyReader

MOST: Final = 60  # cases of a list, as a cookie has room for
_COOKIE: Final = "candor_kept"
_KEPT_S: Final = 30 * 86_400
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_FORM: Final = form_reader("keep", "drop", "back")


def read_kept(request: Request) -> list[str]:
    """The ids of the images on the reader's list, in the order in which they were kept."""
    text = own_cookies(request.headers.get("cookie", "").encode("latin-1")).get(_COOKIE, "")
    return [each for each in text.split(".") if _ID.fullmatch(each)][:MOST]


def ids_of(kept: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(UUID(each).bytes for each in kept)


async def write_kept(request: Request, bodies: BodyReader) -> Response:
    """Change the list as a form says, and show the page again. Raises FormInvalid."""
    async with bodies.parsed(request, _FORM) as fields:
        named = fields.get("keep") or fields.get("drop") or ""
        case = str(UUID(bytes=read_uuid("keep", named)))
        back = fields.get("back", "")
    kept = [each for each in read_kept(request) if each != case]
    if "keep" in fields:
        kept.append(case)
    if len(kept) > MOST:
        raise FormInvalid(f"A list for a meeting has at most {MOST} cases; take one off first.")
    path = answers_path(request.path_params["model"])
    answer = RedirectResponse(back_to(path, back) + f"#{case}", status_code=303)
    answer.set_cookie(
        _COOKIE, ".".join(kept), max_age=_KEPT_S, path=path.removesuffix("/page"), httponly=True
    )
    return answer


def back_to(path: str, back: str, **more: str) -> str:
    """The address of the cases from which a form came."""
    return f"{path}?{urlencode(dict(parse_qsl(back)) | more)}"


def meeting_file(values: dict[str, Any], headers: dict[str, str]) -> Response:
    return HTMLResponse(render("meeting.html", **values), headers=FILE_HEADERS | headers)
