"""The OpenAPI document of the endpoints that programs use, with JSON schemas of what they take and
give.
"""

import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo
from starlette.responses import Response

from hosting.error_table import ERRORS
from hosting.errors import CrossOrigin, Forbidden, Unauthorized
from monitoring.http.endpoint import JSON, PAGES, Endpoint, Header
from monitoring.http.json_body import plain
from monitoring.http.query import parameters_of, type_of

Schema = dict[str, Any]


class Schemas:
    """The schemas of `kinds`, which share components by name. Unions may hold several Structs."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        leaves = list(dict.fromkeys(leaf for kind in kinds for leaf in _leaves(kind)))
        found, self.components = msgspec.json.schema_components(
            leaves, ref_template="#/components/schemas/{name}"
        )
        self._of_leaf = dict(zip(leaves, found, strict=True))
        for name in _dataclass_names(leaves):
            for field in self.components[name]["properties"].values():
                _allow_null(field)

    def of(self, kind: Any) -> Schema:
        """The schema of one of the kinds."""
        if _is_union(kind):
            return {"anyOf": [self.of(each) for each in get_args(kind)]}
        if _is_list_of_union(kind):
            return {"type": "array", "items": self.of(get_args(kind)[0])}
        found: Schema = self._of_leaf[kind]
        return found


def _leaves(kind: Any) -> Iterator[Any]:
    """The parts that msgspec describes one by one."""
    if _is_union(kind) or _is_list_of_union(kind):
        for each in get_args(kind):
            yield from _leaves(each)
    else:
        yield kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_list_of_union(kind: Any) -> bool:
    return get_origin(kind) is list and _is_union(get_args(kind)[0])


def _allow_null(schema: Schema) -> None:
    """What is NaN or infinite in a dataclass is null in JSON."""
    if schema.get("type") == "number":
        schema["type"] = ["number", "null"]


def _dataclass_names(kinds: Iterable[Any]) -> set[str]:
    """The names of all dataclasses in the kinds, whatever they are nested in."""
    names: set[str] = set()
    rest: list[Any] = list(inspect.multi_type_info(kinds))
    while rest:
        found = rest.pop()
        if isinstance(found, inspect.DataclassType):
            if found.cls.__name__ in names:
                continue
            names.add(found.cls.__name__)
        if isinstance(found, msgspec.Struct):
            rest += msgspec.structs.astuple(found)
        elif isinstance(found, tuple):
            rest += found
    return names


def document(endpoints: Iterable[Endpoint], *, version: str) -> dict[str, Any]:
    """The OpenAPI document of a server. Of two endpoints with one address the first counts."""
    of_programs = [each for each in endpoints if each.tag != PAGES]
    declared = list({(each.path, each.method): each for each in reversed(of_programs)}.values())[
        ::-1
    ]
    schemas = Schemas(kind for each in declared for kind in _kinds(each))
    paths: dict[str, dict[str, Any]] = {}
    for each in declared:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Candor",
            "version": version,
            "description": "Images in, calibrated probabilities out.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }
    found: dict[str, Any] = plain(described)  # a default may be NaN
    return found


def _kinds(endpoint: Endpoint) -> Iterator[Any]:
    yield from endpoint.takes.values()
    yield from _gives(endpoint).values()
    yield from endpoint.otherwise.values()
    yield from map(type_of, parameters_of(endpoint.query).values())
    yield from (header.kind for header in endpoint.headers)
    yield endpoint.error


def _gives(endpoint: Endpoint) -> dict[str, Any]:
    """The type of the answer by media type."""
    if endpoint.gives:
        return dict(endpoint.gives)
    returned = get_type_hints(endpoint.handler, include_extras=True)["return"]
    kinds = [
        each
        for each in get_args(returned)
        if not (isinstance(each, type) and issubclass(each, Response))
    ]
    if Response not in get_args(returned):
        return {JSON: returned}
    (kind,) = kinds
    return {JSON: kind}


def _operation(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    content = {media: {"schema": schemas.of(kind)} for media, kind in _gives(endpoint).items()}
    described: dict[str, Any] = {
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": [
            *_path_parameters(endpoint.path),
            *(_query_parameter(each, schemas) for each in parameters_of(endpoint.query).values()),
            *(_header(each, schemas) for each in endpoint.headers),
        ],
        "responses": {"200": {"description": "done", "content": content}}
        | _refusals(endpoint, schemas),
    }
    if endpoint.scope is not None:
        described["description"] = (
            f"Where tokens are required, this needs the scope `{endpoint.scope}`."
        )
    if endpoint.takes:
        described["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {
                media: {"schema": schemas.of(kind)} for media, kind in endpoint.takes.items()
            },
        }
    return described


def _refusals(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    """The answers with other statuses, with the codes that they carry."""
    codes: dict[int, set[str]] = {status: set() for status in endpoint.otherwise}
    for error in (*endpoint.refused, *_access_errors(endpoint)):
        status, code = ERRORS[error]
        codes.setdefault(status, set()).add(code)
    return {
        str(status): {
            "description": ", ".join(sorted(of_status)) or "not now",
            "content": {
                JSON: {"schema": schemas.of(endpoint.otherwise.get(status, endpoint.error))}
            },
        }
        for status, of_status in sorted(codes.items())
    }


def _access_errors(endpoint: Endpoint) -> Sequence[type[Exception]]:
    tokens = () if endpoint.scope is None else (Unauthorized, Forbidden)
    return tokens if endpoint.method == "GET" else (*tokens, CrossOrigin)


def _path_parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _query_parameter(field: FieldInfo, schemas: Schemas) -> Schema:
    schema = dict(schemas.of(type_of(field)))
    described = {"name": field.encode_name, "in": "query", "schema": schema}
    return described | {"description": schema.pop("description")}


def _header(header: Header, schemas: Schemas) -> Schema:
    return {
        "name": header.name,
        "in": "header",
        "description": header.description,
        "schema": schemas.of(header.kind),
    }
