"""/docs: the document as a page without assets, so that it can be read where there is no internet."""

import html
import json
from typing import Any

STYLE = """body{font:16px/1.5 system-ui;margin:2em auto;max-width:56em;padding:0 1em}
details{border:1px solid #ccd;border-radius:6px;margin:.5em 0;padding:.4em .8em}summary{cursor:pointer}
code,pre{font-size:14px}pre{background:#f4f5f8;padding:.6em;overflow:auto}b.m{display:inline-block;width:3.5em}
td,th{text-align:left;padding:.1em 1em .1em 0;vertical-align:top}@media(prefers-color-scheme:dark)
{body{background:#16181d;color:#dde}pre{background:#22252c}a{color:#8ab4ff}details{border-color:#445}}"""


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    parts = [f"<h2>{html.escape(tag)}</h2>{''.join(operations)}" for tag, operations in groups.items()]
    schemas = [
        f"<details id='{name}'><summary><code>{name}</code></summary>{_schema(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Candor: API</title><style>{STYLE}</style>"
        f"<h1>Candor {html.escape(info['version'])}: API</h1><p>{html.escape(info['description'])} "
        "The same <a href=/openapi.json>for programs</a>; in words: docs/api.md.</p>"
        f"{''.join(parts)}<h2>schemas</h2>{''.join(schemas)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [_parameter(each) for each in operation["parameters"]]
    takes = operation.get("requestBody", {}).get("content", {})
    gives = operation["responses"]["200"]["content"]
    refused = ", ".join(status for status in operation["responses"] if status != "200")
    return (
        f"<details><summary><b class=m>{method.upper()}</b> <code>{html.escape(path)}</code></summary>"
        f"<p>{html.escape(operation['summary'])}</p><table>{''.join(rows)}</table>"
        f"{_contents('takes', takes)}{_contents('gives', gives)}<p>refuses with {refused or 'nothing'}</p></details>"
    )


def _parameter(described: dict[str, Any]) -> str:
    name, meaning = html.escape(described["name"]), html.escape(described.get("description", ""))
    return f"<tr><td><code>{name}</code><td>{described['in']}<td>{meaning}"


def _contents(title: str, contents: dict[str, Any]) -> str:
    return "".join(
        f"<p>{title} <code>{html.escape(media)}</code></p>{_schema(content['schema'])}"
        for media, content in contents.items()
    )


def _schema(schema: dict[str, Any]) -> str:
    return f"<pre>{html.escape(json.dumps(schema, indent=1))}</pre>"
