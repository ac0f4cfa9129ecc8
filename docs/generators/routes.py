"""The server's own OpenAPI document, as a page to read."""

from collections.abc import Iterator
from typing import Any

from docs.generators.markdown import table
from hosting.openapi import document
from model_store.installation import release
from serving.process.server import ENDPOINTS

Json = dict[str, Any]


def routes() -> str:
    """One section for each tag, one entry for each operation; then the schemas that they name."""
    described = document(ENDPOINTS, version=release())
    by_tag: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(
                _operation(method.upper(), path, operation)
            )
    sections = [
        f"## {tag.capitalize()}\n\n" + "\n\n".join(entries) for tag, entries in by_tag.items()
    ]
    schemas = [_schema(name, schema) for name, schema in described["components"]["schemas"].items()]
    return "\n\n".join([*sections, "## Schemas", *schemas])


def _operation(method: str, path: str, operation: Json) -> str:
    parts = [f"### `{method} {path}`", operation["summary"]]
    parameters = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    if parameters:
        parts.append(table(("parameter", "in", "type", "meaning"), parameters))
    if "requestBody" in operation:
        optional = "" if operation["requestBody"].get("required") else " (optional)"
        parts.append(f"Body{optional}: {_contents(operation['requestBody']['content'])}")
    parts.append(f"Answer: {_contents(operation['responses']['200']['content'])}")
    errors = sorted(status for status in operation["responses"] if status != "200")
    if errors:
        parts.append("Errors: " + ", ".join(errors))
    return "\n\n".join(parts)


def _contents(content: Json) -> str:
    return "; ".join(
        f"`{media}`: {_type(body.get('schema', {}))}" for media, body in content.items()
    )


def _schema(name: str, schema: Json) -> str:
    rows = [
        (
            f"`{key}`",
            _type(value),
            "yes" if key in schema.get("required", ()) else "",
            value.get("description", ""),
        )
        for key, value in schema.get("properties", {}).items()
    ]
    parts = [f"### {name}", schema.get("description", "")]
    parts.append(table(("field", "type", "always", "meaning"), rows) if rows else _type(schema))
    return "\n\n".join(part for part in parts if part)


def _type(schema: Json) -> str:
    return " or ".join(dict.fromkeys(_types(schema)))


def _types(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        yield f"[{name}](#{name.lower()})"
    elif "anyOf" in schema or "oneOf" in schema:
        for each in schema.get("anyOf", schema.get("oneOf")):
            yield from _types(each)
    elif "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
    elif "const" in schema:
        yield f"`{schema['const']}`"
    elif schema.get("type") == "array":
        yield f"list of {_type(schema.get('items', {}))}"
    elif schema.get("format") == "binary":
        yield "bytes"
    else:
        kind = schema.get("type", "any")
        yield from [kind] if isinstance(kind, str) else kind
