"""One JSON object a line."""

import json
import logging
import sys

from hosting.logs import JsonLines


def test_a_line_carries_its_fields_and_its_trace() -> None:
    record = logging.LogRecord("serving", logging.ERROR, "", 0, "bundle %s", ("refused",), None)
    record.fields = {"model": "m", "reason": 'with "quotes"\nand lines'}
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["model"]) == ("error", "bundle refused", "m")
    assert line["trace"].endswith("ValueError: why")
