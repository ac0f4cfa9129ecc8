"""Reference pages say what the running program says: every setting, metric, error, route, parameter
and scope; and the page of the demo, what it prints.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import candor
from console import monitor_server
from console.api_page import ENDPOINTS as DESCRIPTION_ENDPOINTS
from docs.generators.tables import GENERATORS, MARK, expand
from hosting.error_table import ERRORS, INTERNAL, PREDICTION_ERRORS, ROUTING_CODES
from hosting.openapi import document
from hosting.settings import PREFIX, Settings
from monitoring.http.endpoint import PAGES, Endpoint
from serving.process.server import ENDPOINTS

DOCS = Path(__file__).parents[2] / "docs"


def published(page: str) -> str:
    """The page as the site shows it."""
    return expand((DOCS / page).read_text())


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    rows = dict(
        re.findall(r"\| `(CANDOR_\w+)` \| `(.*?)` \| \S", published("reference/settings.md"))
    )
    assert rows == {
        f"{PREFIX}{name.upper()}": str(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_every_error_code_is_documented_at_its_status() -> None:
    rows = re.findall(
        r"^\| (\d{3}) \| `(\w+)` \| \S", published("reference/errors.md"), re.MULTILINE
    )
    listed = {(int(status), code) for status, code in rows}
    assert listed == {*ERRORS.values(), *ROUTING_CODES.items(), (INTERNAL.status, INTERNAL.code)}


def test_every_generated_part_is_on_a_page() -> None:
    marks = {name for page in DOCS.rglob("*.md") for name in MARK.findall(page.read_text())}
    assert marks == set(GENERATORS)


def test_every_name_of_the_python_interface_is_documented() -> None:
    page = published("reference/python.md")
    assert [name for name in candor.__all__ if not re.search(rf"`(candor\.)?{name}`", page)] == []


def test_every_status_that_an_error_has_is_described_where_it_can_come() -> None:
    operation = document(ENDPOINTS, version="1")["paths"]["/predictions/{model}"]["post"]
    assert set(operation["responses"]) == {"200"} | {
        str(status) for status, _ in PREDICTION_ERRORS.values()
    }


@pytest.mark.parametrize(
    "endpoints", [ENDPOINTS, (*DESCRIPTION_ENDPOINTS, *monitor_server.ENDPOINTS)]
)
def test_no_schema_is_an_empty_object(endpoints: tuple[Endpoint, ...]) -> None:
    """An object has named fields or a type of its values; one that is free-form says why."""
    bare = list(bare_objects(document(endpoints, version="1"), "#"))
    assert bare == []


def bare_objects(part: Any, place: str) -> Iterator[str]:
    """The places of objects that say nothing of themselves."""
    if isinstance(part, dict):
        says = part.keys() & {"properties", "additionalProperties", "description"}
        if (part == {} and place.endswith("/schema")) or (
            part.get("type") == "object" and not says
        ):
            yield place
        for name, value in part.items():
            yield from bare_objects(value, f"{place}/{name}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from bare_objects(value, f"{place}/{number}")


SIGN_IN = (Path(__file__).parents[2] / "docs" / "how-to" / "sign-in.md").read_text()
OPEN_TO_ALL = {
    "/sign-in",
    "/sign-out",
    "/static/{name}",
    "/healthz",
    "/readyz",
    "/ping",
}


def test_each_page_is_listed_with_the_scope_that_it_needs() -> None:
    listed = {
        (method, path): scope
        for scope, pages in re.findall(r"^\| `(\w+)` \| (`.*`) \|$", SIGN_IN, re.M)
        for method, path in re.findall(r"`(\w+) (/[^`]*)`", pages)
    }
    declared = {
        (each.method, each.path): each.scope
        for each in (*DESCRIPTION_ENDPOINTS, *ENDPOINTS, *monitor_server.DECLARED)
    }
    assert listed == {each: declared[each] for each in listed}
    pages = {
        (each.method, each.path)
        for each in (*DESCRIPTION_ENDPOINTS, *ENDPOINTS)
        if each.method == "GET" and each.tag == PAGES and each.path not in OPEN_TO_ALL
    }
    assert pages <= set(listed), "list them in docs/how-to/sign-in.md"
