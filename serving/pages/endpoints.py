"""Pages and their forms as endpoints of the API."""

from typing import Any, Final

from msgspec import Struct

from monitoring.errors import FormInvalid
from monitoring.http.endpoint import Endpoint, Handler
from monitoring.routes import BODY_REFUSALS
from monitoring.routes.form import MEDIA_TYPE

HTML: Final = {"text/html": str}


def page(path: str, handler: Handler, **declared: Any) -> Endpoint:
    """A page; `declared` are more fields of its endpoint."""
    fields: dict[str, Any] = {"tag": "pages", "gives": HTML} | declared
    return Endpoint(method="GET", path=path, handler=handler, **fields)


def form(path: str, handler: Handler, kind: type[Struct], **declared: Any) -> Endpoint:
    """What the form `kind` of a page sends; a success leads to another page.

    The errors of its body are those of every form unless `declared` names `body_refuses`.
    """
    body_refuses = declared.pop("body_refuses", BODY_REFUSALS)
    refuses = (*body_refuses, FormInvalid, *declared.pop("refuses", ()))
    fields: dict[str, Any] = {"tag": "pages", "takes": {MEDIA_TYPE: kind}, "redirects": True}
    return Endpoint(method="POST", path=path, handler=handler, refuses=refuses, **fields | declared)
