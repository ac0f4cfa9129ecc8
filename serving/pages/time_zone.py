"""The time zone in which a reader of pages sees times; a cookie keeps the choice."""

from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.errors import FormInvalid, brief
from monitoring.routes.form import form_reader
from monitoring.routes.request import BodyReader
from serving.pages.endpoints import form, page
from serving.pages.reader import CHOSEN_ZONE_COOKIE, zone_names
from serving.pages.rendering import answer_page, render
from serving.pages.sign_in import NEXT, own_path

UTC_NAME: Final = "UTC"
_YEAR_S: Final = 365 * 86_400


class TimeZoneForm(Struct, frozen=True):
    """A time zone such as Europe/Berlin; that of the browser if left out."""

    zone: str | None = None


_FORM: Final = form_reader(TimeZoneForm)


class TimeZoneRoutes:
    """The handlers of the choice."""

    def __init__(self, bodies: BodyReader) -> None:
        self._bodies = bodies

    async def zones(self, request: Request) -> Response:
        by_region: dict[str, list[str]] = {}
        for name in zone_names():
            by_region.setdefault(name.partition("/")[0], []).append(name)
        where = own_path(request.query_params.get("next", "/"))
        return answer_page(render("time_zone.html", regions=by_region, utc=UTC_NAME, next=where))

    async def choose_zone(self, request: Request) -> Response:
        """Write times in another time zone from now on."""
        async with self._bodies.parsed(request, _FORM) as fields:
            name, response = fields.get("zone", ""), _back(request)
        if not name:
            response.delete_cookie(CHOSEN_ZONE_COOKIE, httponly=True, samesite="lax")
            return response
        if name != UTC_NAME and name not in zone_names():
            raise FormInvalid(
                f"There is no time zone {brief(name)}; choose one such as Europe/Berlin."
            )
        response.set_cookie(
            CHOSEN_ZONE_COOKIE, name, max_age=_YEAR_S, httponly=True, samesite="lax"
        )
        return response


def _back(request: Request) -> RedirectResponse:
    """To the page that the reader came from."""
    return RedirectResponse(own_path(request.query_params.get("next", "/")), status_code=303)


ENDPOINTS: Final = (
    page(
        "/time-zone",
        TimeZoneRoutes.zones,
        summary="A page to choose the time zone in which pages write times.",
        scope=None,
        parameters=(NEXT,),
    ),
    form(
        "/time-zone",
        TimeZoneRoutes.choose_zone,
        TimeZoneForm,
        summary="Choose the time zone of that page's form, kept in a cookie.",
        scope=None,
        parameters=(NEXT,),
    ),
)
