"""Every field that a template's form sends is known to the route that takes it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import rendering
from tests.builders.services import PAGE, Running

pytestmark = pytest.mark.anyio
TEMPLATES = Path(rendering.__file__).parent / "templates"
FORM = re.compile(r"<form[^>]*method=\"post\"[^>]*>.*?</form>", re.DOTALL)
MACRO = re.compile(r"{% macro (\w+).*?{% endmacro %}", re.DOTALL)
PATHS = {  # by what stands in `action`
    "answers_path": "/models/tiny/answers/page",
    "label_path": "/label/tiny",
    "page_path": "/models/tiny/report/page",
    "note_path": "/note/tiny",
    "try_path": "/try/tiny",
    "/sign-in": "/sign-in",
    "/sign-out": "/sign-out",
}
PATHS_OF_PAGES = {  # of templates that set `path`
    "label.html": "/label/tiny",
    "acknowledge.html": "/models/tiny/report/page",
    "doubtful.html": "/slices/tiny",
    "versions.html": "/versions/tiny",
    "recalibrate.html": "/recalibrate/tiny",
}


def forms() -> Iterator[tuple[str, str]]:
    """The address and the text of each form that sends."""
    for file in sorted(TEMPLATES.rglob("*.jinja")):
        text = file.read_text()
        for form in FORM.findall(text):
            action = form[: form.index(">")]
            found = [path for name, path in PATHS.items() if name in action]
            path = found[0] if found else PATHS_OF_PAGES[file.name.removesuffix(".jinja")]
            called = [each[0] for each in MACRO.finditer(text) if f"{each[1]}(" in form]
            yield path, form + "".join(called)


def fields(form: str) -> set[str]:
    """Names of the fields. Of a loop they stand in its pairs, or else are version and finding."""
    names = set(re.findall(r'\bname="([^"]+)"', form))
    if any("{{" in name for name in names):
        names |= set(re.findall(r'\("(\w+)", ', form)) or {"version", "finding"}
    return {name for name in names if "{{" not in name}


async def test_every_field_of_every_form_is_known(server: Running) -> None:
    found = list(forms())
    assert len(found) >= 9
    for path, form in found:
        sent = dict.fromkeys(fields(form), "1")
        multipart = {"files": {"file": b""}} if "multipart" in form else {}
        sent.pop("file", None)
        answer = await server.client.post(path, data=sent, headers=PAGE, **multipart)
        assert "does not know the field" not in answer.text, (path, sorted(sent))
        assert answer.status_code < 500
        odd = await server.client.post(path, data={"odd": "1"}, headers=PAGE, **multipart)
        assert "does not know the field" in odd.text, path
