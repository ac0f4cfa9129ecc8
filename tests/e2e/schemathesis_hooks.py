"""What schemathesis does not know by itself: how an item is sent as NDJSON."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """One line."""
    return json.dumps(value).encode() + b"\n"
