"""One JSON object a line."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from serving.process.logs import JsonLines, configure_logging


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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


def test_the_level_holds_and_uvicorn_is_quiet(
    monkeypatch: pytest.MonkeyPatch, restored_logging: None
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("info")
    logging.getLogger("serving").debug("too little")
    logging.getLogger("serving").info("enough", extra={"fields": {"version": 2}})
    logging.getLogger("uvicorn.error").info("chatter")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["message"], line["version"]) for line in lines] == [("enough", 2)]
