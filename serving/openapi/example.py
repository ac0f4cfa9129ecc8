"""An example of a JSON body, made from its schema: what the page of the API offers to send."""

from typing import Any, Final

_DEEPEST: Final = 6
_BY_TYPE: Final = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "null": None}


def example_of(schema: dict[str, Any], components: dict[str, Any], *, depth: int = 0) -> Any:
    """A value of the schema: its own example or default if it has one; of an object, the required
    fields.

    >>> example_of({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, {})
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
        return (
            [example_of(schema["items"], components, depth=depth + 1)] if "items" in schema else []
        )
    return _BY_TYPE.get(str(kind))
