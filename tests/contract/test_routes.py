"""Every declared route is on the page of the HTTP API. Its errors' statuses and its objects' fields
are described.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.api.endpoint import Endpoint
from serving.error_table import PREDICTION_ERRORS
from serving.openapi.document import document
from serving.openapi.endpoints import ENDPOINTS as DESCRIPTION_ENDPOINTS
from serving.process import monitor_server
from serving.process.server import ENDPOINTS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"


def test_every_route_stands_in_the_api_page() -> None:
    text = PAGE.read_text()
    for path in {each.path for each in ENDPOINTS}:
        known = path if not path.startswith("/v2/") else "/v2/..."
        short = re.sub(r"(?<=\{model\})/\{version\}$", "[/{version}]", known)
        assert short in text, path


def test_every_parameter_of_a_route_for_programs_stands_in_the_api_page() -> None:
    text = PAGE.read_text()
    asked = {
        (each.path, parameter.name)
        for each in ENDPOINTS
        for parameter in each.parameters
        if parameter.place == "query" and each.tag != "pages"  # forms and links send those
    }
    assert len(asked) > 10
    for path, name in asked:
        assert re.search(rf"`{name}`|[?&]{name}=", text), (path, name)


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
