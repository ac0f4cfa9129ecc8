"""Every page comes from a template, escaped, and a name that is missing is an error."""

import re

import pytest
from jinja2 import UndefinedError

from console.formatting import code_marks
from console.rendering import asset, render
from model_store.bundle.diagram import diagram_file, drawing_rules
from monitoring.http.endpoint import EVERYONE


def test_values_are_escaped() -> None:
    page = render("server.html", models=[("<script>", 1)], viewer=EVERYONE)
    assert "<li>&lt;script&gt;, version 1" in page
    assert 'href="/try/%3Cscript%3E"' in page


def test_code_marks_escape_too() -> None:
    assert code_marks("`<b>` and <i>") == "<code>&lt;b&gt;</code> and &lt;i&gt;"
    assert code_marks("one ` alone") == "one ` alone"


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'models' is undefined"):
        render("server.html")


def test_a_drawing_of_its_own_has_the_colors_of_the_light_page() -> None:
    page, drawing = asset("style.css").content, diagram_file([])
    light = dict(re.findall(r"--(\w+): light-dark\((#\w+),", page))
    for name in set(re.findall(r"var\(--(\w+)\)", drawing_rules())):
        assert light[name] in drawing
    assert "svg .dot { fill: #2563b0;" in drawing
    assert "var(" not in drawing
