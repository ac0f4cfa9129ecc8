"""Renders the HTML and SVG templates. All values are escaped; an undefined name in a template is an
error.
"""

from functools import cache
from typing import Any, Final

from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse

from calibration.wording import counted
from model_store.bundle.diagram import environment_of
from monitoring.pages import formatting, language, phrasing
from monitoring.pages.assets import asset
from monitoring.pages.status_words import event_word

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
    *(
        phrasing.answers_in_slice,
        phrasing.answers_in_stream,
        phrasing.answers_with,
        phrasing.tolerance,
    ),
    *(
        phrasing.counted_answers,
        phrasing.counted_labels,
        phrasing.side,
        phrasing.rate_title,
        phrasing.file_word,
    ),
    *(counted, event_word, phrasing.action_word, phrasing.alias_word, phrasing.canary_words),
    *(
        formatting.code_marks,
        formatting.duration,
        formatting.grouped,
        formatting.moment,
        formatting.stamped,
    ),
    *(formatting.percent, formatting.shown, formatting.whole_percent, language.localized),
    *(
        formatting.calendar_day,
        formatting.calendar_days,
        formatting.iso_day,
        formatting.pretty_json,
    ),
    *(
        formatting.page_path,
        formatting.try_path,
        formatting.recalibrate_path,
        formatting.download_path,
    ),
    *(formatting.label_path, formatting.versions_path),
)


def render(template: str, /, **values: Any) -> Markup:
    """Render a template of `monitoring/pages/templates`, named without `.jinja`."""
    return Markup(_environment().get_template(f"{template}.jinja").render(**values))


def answer_page(html: str, *, status: int = 200) -> HTMLResponse:
    """The answer that a browser gets for a rendered page: it loads only what this server has, and
    nobody frames it.
    """
    return HTMLResponse(
        html, status, headers=PAGE_HEADERS | {"content-language": language.reader().language.code}
    )


@cache
def _environment() -> Environment:
    environment = environment_of("monitoring.pages")
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(language.gettext, language.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {
        "reader": language.reader,
        "english": formatting.english,
        "span": formatting.span,
    }
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.globals["asset"] = asset
    environment.globals["style"] = Markup(asset("style.css").content)  # our own file
    return environment
