"""/docs: the document as a page without external assets, so that it works without internet access.

It begins with what a program sends. With JavaScript every operation has a form that sends it to
this server.
"""

import json
from typing import Any, Final, NamedTuple

from monitoring.pages.rendering import render
from serving.openapi.example import example_of

_FIRST: Final = ("predictions", "feedback", "calibration", "logged predictions", "models")
_LAST: Final = ("health", "pages")
_JSON: Final = "application/json"
_TEXT: Final = (_JSON, "application/x-ndjson", "text/csv")  # bodies that are written by hand
_FILE: Final = ("image/*", "application/octet-stream")


class Operation(NamedTuple):
    """An operation of the page. `bodies`: media types with an example each; None where a file is
    sent.
    """

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


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    schemas = document["components"]["schemas"]
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            content = found.get("requestBody", {}).get("content", {})
            operation = Operation(method.upper(), path, found, _bodies(content, schemas))
            groups.setdefault(found["tags"][0], []).append(operation)
    ordered = {name: groups[name] for name in sorted(groups, key=_place)}
    serves = "/models" in document["paths"]
    return render("api.html", info=document["info"], groups=ordered, schemas=schemas, serves=serves)


def _place(tag: str) -> tuple[int, str]:
    if tag in _FIRST:
        return _FIRST.index(tag), tag
    return len(_FIRST) + (_LAST.index(tag) + 1 if tag in _LAST else 0), tag


def _bodies(content: dict[str, Any], schemas: dict[str, Any]) -> dict[str, str | None]:
    """What can be sent from a page, the easiest first."""
    found: dict[str, str | None] = {media: None for media in _FILE[:1] if media in content}
    for media in _TEXT:
        if media in content:
            example = example_of(content[media]["schema"], schemas)
            found[media] = json.dumps(example, indent=1) if media == _JSON else _lines(example)
    return found


def _lines(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)
