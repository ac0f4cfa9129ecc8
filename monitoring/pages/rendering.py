"""Renders the HTML and SVG templates. All values are escaped; an undefined name in a template is an error."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitoring.findings import phrases
from monitoring.pages import formatting

_FILTERS = (
    *(phrases.answers_in_slice, phrases.answers_in_stream, phrases.counted, phrases.percent, phrases.tolerance),
    *(formatting.code_marks, formatting.duration, formatting.grouped, formatting.moment),
    *(formatting.page_path, formatting.pretty_json),
)


def render(template: str, /, **values: Any) -> Markup:
    """Render a template of `monitoring/pages/templates`, named without `.jinja`."""
    return Markup(_environment().get_template(f"{template}.jinja").render(**values))


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
    style = files("monitoring.pages").joinpath("templates", "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # our own file
    return environment
