"""Signing in and out, and the files that pages load."""

from typing import Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.endpoints import form, form_reader, page
from console.error_pages import answer_error, sign_in_page
from console.rendering import answer_page, find_asset
from hosting.auth import AccessControl
from hosting.caller import read_body
from hosting.errors import AssetUnknown, Unauthorized
from hosting.tokens import COOKIE, LIFETIME_S
from monitoring.http.body_budget import BodyBudget

_LIMIT_BYTES: Final = 8_192
_TIMEOUT_S: Final = 10.0
_ADVICE: Final = "Send the form of /sign-in."
NEXT: Final = "next"  # the page to go to afterwards
_KEPT: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
}


_SIGN_IN, _SIGN_OUT = form_reader("token"), form_reader()


class SignInRoutes:
    def __init__(self, access: AccessControl, bodies: BodyBudget) -> None:
        self._access, self._bodies = access, bodies

    async def page(self, request: Request) -> Response:
        where = own_path(request.query_params.get("next", "/"))
        viewer = self._access.signed_in(request.headers.get("cookie", "").encode("latin-1"))
        return answer_page(sign_in_page(where, is_open=self._access.is_open, viewer=viewer))

    async def sign_in(self, request: Request) -> Response:
        response = RedirectResponse(
            own_path(request.query_params.get("next", "/")), status_code=303
        )
        fields = _SIGN_IN(await self._body(request))
        if self._access.is_open:
            return response
        try:
            session = self._access.sign_in(fields.get("token", ""))
        except Unauthorized as error:
            return await answer_error(request, error)
        response.set_cookie(
            COOKIE,
            session,
            max_age=LIFETIME_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https"
            or request.headers.get("x-forwarded-proto") == "https",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session of this browser, on every server with this ledger."""
        _SIGN_OUT(await self._body(request))
        cookies = request.headers.get("cookie", "").encode("latin-1")
        await to_thread.run_sync(self._access.sign_out, cookies)
        response = RedirectResponse("/sign-in", status_code=303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def _body(self, request: Request) -> bytes:
        async with self._bodies.hold(_LIMIT_BYTES) as hold:
            return await read_body(
                request.receive,
                limit_bytes=_LIMIT_BYTES,
                timeout_s=_TIMEOUT_S,
                hold=hold,
                advice=_ADVICE,
            )

    async def asset(self, request: Request) -> Response:
        """A file that pages load, to be kept for ever: its name changes with its content."""
        file = find_asset(request.url.path)
        if file is None:
            raise AssetUnknown
        return Response(file.content, headers=_KEPT, media_type=file.media_type)


def own_path(text: str) -> str:
    """A path on this server, so that signing in leads nowhere else.

    >>> own_path("/try/tiny"), own_path("//evil.example"), own_path("https://evil.example")
    ('/try/tiny', '/', '/')
    """
    is_path = (
        text.startswith("/")
        and not text.startswith("//")
        and "\\" not in text
        and text.isprintable()
    )
    return text if is_path and len(text) <= 500 else "/"


ENDPOINTS: Final = (
    page("/sign-in", SignInRoutes.page, NEXT, scope=None),
    form("/sign-in", SignInRoutes.sign_in, NEXT, scope=None),
    form("/sign-out", SignInRoutes.sign_out, scope=None),
    page("/static/{name}", SignInRoutes.asset, scope=None),
)
