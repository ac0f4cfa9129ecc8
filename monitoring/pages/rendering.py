"""Renders the HTML and SVG templates. All values are escaped; an undefined name in a template is an error."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from calibration.wording import counted
from monitoring.findings import phrases
from monitoring.pages import formatting

_FILTERS = (
    *(phrases.answers_in_slice, phrases.answers_in_stream, counted, phrases.percent, phrases.tolerance),
    *(formatting.code_marks, formatting.duration, formatting.grouped, formatting.moment),
    *(formatting.page_path, formatting.pretty_json),
)


def render(template: str, /, **values: Any) -> Markup:
    """Render a template of `monitoring/pages/templates`, named without `.jinja`."""
    return Markup(_environment().get_template(f"{template}.jinja").render(**values))


def answer_page(html: str) -> HTMLResponse:
    """The answer that a browser gets for a rendered page: it runs no script, loads nothing, is framed by nobody."""
    return HTMLResponse(html, headers=_page_headers())


@cache
def _page_headers() -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


@cache
def _style() -> str:
    return files("monitoring.pages").joinpath("templates", "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitoring.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.globals["style"] = Markup(_style())  # our own file
    return environment
