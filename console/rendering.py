"""Renders the HTML and SVG templates, and finds the style sheet and the scripts that pages load.

All values are escaped; an undefined name in a template is an error. Names of files change with
their content, so a browser may keep them for ever, and a new release is seen at once. Documents
such as the scheduled report carry the style sheet inside, because they are one file.
"""

import hashlib
import secrets
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse

from calibration.wording import counted, in_points, percent, probability, signed_points
from console import formatting
from console.reader import reader
from console.terms import explained
from model_store.bundle.card import NO_PROMISE
from model_store.bundle.diagram import drawing_rules, environment_of
from monitoring.diagnosis import phrases
from monitoring.diagnosis.vocabulary import terms

_SCRIPTS = ("api.js", "charts.js", "console.js", "viewer.js")
_TYPES = {"style.css": "text/css"} | dict.fromkeys(_SCRIPTS, "text/javascript")


class Asset(NamedTuple):
    content: str
    media_type: str
    address: str


@cache
def asset(name: str) -> Asset:
    content = files("console").joinpath("static", name).read_text(encoding="utf-8")
    if name == "style.css":
        content += drawing_rules()
    stem, _, suffix = name.partition(".")
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Asset(content, _TYPES[name], f"/static/{stem}.{digest}.{suffix}")


def find_asset(address: str) -> Asset | None:
    """The file with this address; None for any other address."""
    return next((each for each in map(asset, _TYPES) if each.address == address), None)


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
FILE_HEADERS: Final = PAGE_HEADERS | {  # of a file that can do nothing where a browser shows it
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "sandbox"
}
_FILTERS = (
    explained,
    counted,
    percent,
    in_points,
    signed_points,
    probability,
    phrases.answers_in_slice,
    phrases.answers_in_stream,
    phrases.between,
    phrases.day,
    phrases.tolerance,
    terms,
    phrases.group_words,
    phrases.basis_words,
    phrases.known_words,
    phrases.rate_words,
    formatting.calendar_day,
    formatting.code_marks,
    formatting.counted_answers,
    formatting.counted_labels,
    formatting.duration,
    formatting.grouped,
    formatting.moment,
    formatting.pretty_json,
    formatting.base64,
    formatting.scope_doubt,
    formatting.scope_sentence,
    formatting.stamped,
    formatting.whole_percent,
)


def render(template: str, /, **values: Any) -> Markup:
    """Render a template of `console/templates`, named without `.jinja`."""
    return Markup(_environment().get_template(f"{template}.jinja").render(**values))


_PROCESS: Final = secrets.token_hex(4)  # another release may render the same otherwise


def tag_of(*shown: Any) -> str:
    """The entity tag of a page that shows this to the reader of now."""
    seen = repr((_PROCESS, reader(), shown)).encode()
    return f'"{hashlib.sha256(seen).hexdigest()[:24]}"'


def answer_page(html: str, *, status: int = 200) -> HTMLResponse:
    """The answer with a page, which loads only what this server has and is never framed."""
    return HTMLResponse(html, status, headers=PAGE_HEADERS)


@cache
def _environment() -> Environment:
    environment = environment_of("console")
    environment.globals |= {
        "reader": reader,
        "span": formatting.span,
        "now": formatting.now,
        "no_promise": NO_PROMISE,
        "zip": zip,
    }
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.filters |= {
        name: path for name, path in vars(formatting).items() if name.endswith("_path")
    }
    environment.globals["asset"] = asset
    environment.globals["style"] = Markup(asset("style.css").content)  # our own file
    return environment
