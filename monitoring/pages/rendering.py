"""Renders the HTML and SVG templates. All values are escaped; an undefined name in a template is an
error.
"""

from functools import cache
from typing import Any, Final

from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse

from calibration.wording import counted, percent
from model_store.bundle.diagram import environment_of
from monitoring.findings import phrases
from monitoring.findings.answer_record import shown
from monitoring.pages import formatting
from monitoring.pages.assets import asset
from monitoring.pages.reader import reader

PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types candor",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_FILTERS = (
    counted,
    percent,
    shown,
    phrases.answers_in_slice,
    phrases.answers_in_stream,
    phrases.tolerance,
    formatting.calendar_day,
    formatting.calendar_days,
    formatting.canary_words,
    formatting.code_marks,
    formatting.counted_answers,
    formatting.counted_labels,
    formatting.download_path,
    formatting.duration,
    formatting.grouped,
    formatting.label_path,
    formatting.moment,
    formatting.page_path,
    formatting.pretty_json,
    formatting.recalibrate_path,
    formatting.stamped,
    formatting.try_path,
    formatting.versions_path,
    formatting.whole_percent,
)


def render(template: str, /, **values: Any) -> Markup:
    """Render a template of `monitoring/pages/templates`, named without `.jinja`."""
    return Markup(_environment().get_template(f"{template}.jinja").render(**values))


def answer_page(html: str, *, status: int = 200) -> HTMLResponse:
    """The answer that a browser gets for a rendered page: it loads only what this server has, and
    nobody frames it.
    """
    return HTMLResponse(html, status, headers=PAGE_HEADERS)


@cache
def _environment() -> Environment:
    environment = environment_of("monitoring.pages")
    environment.globals |= {"reader": reader, "span": formatting.span}
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.globals["asset"] = asset
    environment.globals["style"] = Markup(asset("style.css").content)  # our own file
    return environment
