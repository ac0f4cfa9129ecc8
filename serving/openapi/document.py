"""The OpenAPI document, put together from the operations and schemas."""

from collections.abc import Container
from typing import Any

from serving.openapi.operations import OPERATIONS, Operation
from serving.openapi.schemas import SCHEMAS, Schema, ref


def document(version: str, *, only: Container[str] | None = None) -> dict[str, Any]:
    """The OpenAPI document of this server's `version`, of all paths or `only` some."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        if only is not None and path not in only:
            continue
        paths.setdefault(path, {})[method.lower()] = _described(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Candor", "version": version, "description": "Images in, calibrated probabilities out."},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _described(path: str, operation: Operation) -> dict[str, Any]:
    error = {"application/json": {"schema": ref(operation.error)}}
    refused = {"description": "refused: the sentence says why and what to do", "content": error}
    statuses = (*operation.refuses, *(() if operation.tag == "health" else (401, 403)))
    content = {media: {"schema": schema} for media, schema in operation.gives.items()}
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_in_path(path), *operation.parameters],
        "responses": {"200": {"description": "done", "content": content}}
        | {str(status): refused for status in sorted(statuses)},
    }
    if operation.takes:
        described["requestBody"] = {
            "required": not operation.takes_nothing_too,
            "content": {media: {"schema": schema} for media, schema in operation.takes.items()},
        }
    return described


def _in_path(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
