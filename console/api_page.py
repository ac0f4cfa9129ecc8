"""The API's description: /openapi.json for programs, /docs for people.

The page has no external assets, so it works without internet access. It begins with what a program
sends; with JavaScript every operation has a form that sends it to this server.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Final, NamedTuple

from anyio import to_thread
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from console.endpoints import page
from console.rendering import answer_page, render
from hosting.openapi import document
from model_store.installation import release
from monitoring.http.endpoint import JSON, Endpoint, bind

_DEEPEST: Final = 6
_BY_TYPE: Final = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "null": None}


def example_of(schema: dict[str, Any], components: dict[str, Any], *, depth: int = 0) -> Any:
    """A value of the schema: its example or default; of an object, the required fields.

    >>> number = {"n": {"type": "integer"}}
    >>> example_of({"type": "object", "properties": number, "required": ["n"]}, {})
    {'n': 0}
    """
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return example_of(
            components[schema["$ref"].rsplit("/", 1)[-1]], components, depth=depth + 1
        )
    for known in ("examples", "enum"):
        if schema.get(known):
            return schema[known][0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components, depth=depth + 1)
    return _of_type(schema, components, depth)


def _of_type(schema: dict[str, Any], components: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields, required = schema.get("properties", {}), schema.get("required", [])
        shown = [name for name in fields if name in required] or list(fields)[:1]
        return {name: example_of(fields[name], components, depth=depth + 1) for name in shown}
    if kind == "array":
        items = [schema["items"]] if "items" in schema else []
        return [example_of(each, components, depth=depth + 1) for each in items]
    return _BY_TYPE.get(str(kind))


_FIRST: Final = ("predictions", "feedback", "calibration", "logged predictions", "models")
_LAST: Final = ("health",)
_TEXT: Final = (JSON, "application/x-ndjson", "text/csv")  # bodies that are written by hand
_FILE: Final = ("image/*", "application/octet-stream")


class Operation(NamedTuple):
    """An operation. `bodies`: media types with an example; None where a file is sent."""

    method: str
    path: str
    described: dict[str, Any]
    bodies: dict[str, str | None]

    @property
    def in_path(self) -> list[dict[str, Any]]:
        """The parameters without which nothing can be sent."""
        return [each for each in self.described["parameters"] if each["in"] == "path"]

    @property
    def options(self) -> list[dict[str, Any]]:
        """The others: in the query and in headers."""
        return [each for each in self.described["parameters"] if each["in"] != "path"]


def api_page(document: dict[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            content = described.get("requestBody", {}).get("content", {})
            operation = Operation(method.upper(), path, described, _bodies(content, schemas))
            groups.setdefault(described["tags"][0], []).append(operation)
    ordered = {name: groups[name] for name in sorted(groups, key=_place)}
    serves = "/models" in document["paths"]
    return render("api.html", info=document["info"], groups=ordered, schemas=schemas, serves=serves)


def _place(tag: str) -> tuple[int, str]:
    if tag in _FIRST:
        return _FIRST.index(tag), tag
    return len(_FIRST) + (_LAST.index(tag) + 1 if tag in _LAST else 0), tag


def _bodies(content: dict[str, Any], schemas: dict[str, Any]) -> dict[str, str | None]:
    """What can be sent from a page, the easiest first."""
    bodies: dict[str, str | None] = {media: None for media in _FILE[:1] if media in content}
    for media in _TEXT:
        if media in content:
            example = example_of(content[media]["schema"], schemas)
            bodies[media] = json.dumps(example, indent=1) if media == JSON else _lines(example)
    return bodies


def _lines(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)


class DescriptionRoutes:
    """The handlers that describe the given endpoints."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    @cached_property
    def described(self) -> dict[str, Any]:
        """The document. It is made when it is first needed, which takes some 60 ms."""
        return document(self._endpoints, version=release())

    async def document(self, _: Request) -> dict[str, Any]:
        return await to_thread.run_sync(lambda: self.described)

    async def page(self, _: Request) -> Response:
        return answer_page(await to_thread.run_sync(lambda: api_page(self.described)))


ENDPOINTS: Final = (
    page("/docs", DescriptionRoutes.page, scope="read"),
    Endpoint(
        method="GET",
        path="/openapi.json",
        scope="read",
        handler=DescriptionRoutes.document,
        tag="description",
        summary="This description for programs.",
        gives={JSON: Annotated[dict[str, Any], Meta(description="OpenAPI 3.1")]},
    ),
)


def with_description(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    return [*bind(ENDPOINTS, DescriptionRoutes([*ENDPOINTS, *endpoints])), *endpoints]
