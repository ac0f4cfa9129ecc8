"""Fills in the HTML and SVG templates. Everything is escaped; a name that a template misses is an error."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitoring.pages import formatting

_FILTERS = ("code_marks", "duration", "grouped", "moment", "page_path", "percent", "pretty_json")


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
    environment.filters |= {name: getattr(formatting, name) for name in _FILTERS}
    style = files("monitoring.pages").joinpath("templates", "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # our own file
    return environment
