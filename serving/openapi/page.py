"""/docs: the document as a page without external assets, so that it works without internet access."""

from typing import Any

from monitoring.pages.rendering import render


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((method, path, operation))
    return render("api.html", info=document["info"], groups=groups, schemas=document["components"]["schemas"])
