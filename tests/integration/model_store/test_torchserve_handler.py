"""TorchServe's handler without TorchServe: out of the archive, in a folder of its own."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.store import Store
from model_store.torchserve_handler import CandorHandler
from serving.inference.predictor import Predictor
from tests.builders.waiting import PATIENCE_S


class Context(SimpleNamespace):
    """What TorchServe hands to a handler, as far as the handler asks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(system_properties={"model_dir": str(folder)}, statuses={})

    def get_request_header(self, index: int, name: str) -> str | None:
        return f"id-{index}" if name == "X-Request-Id" else None

    def set_response_status(self, *, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = (code, phrase)


@pytest.fixture
def archive(tiny_store: Store, tmp_path: Path) -> Path:
    """The unpacked archive of version 1 of "tiny"."""
    folder = tmp_path / "archive"
    with zipfile.ZipFile(tiny_store.folder("tiny", 1) / "tiny.mar") as packed:
        packed.extractall(folder)
    return folder


def test_a_batch_is_answered_and_a_bad_image_in_it_harms_no_neighbor(
    archive: Path, tiny_store: Store, png: Callable[..., bytes]
) -> None:
    context = Context(archive)
    handler = CandorHandler()
    handler.initialize(context)
    bodies: list[Any] = [bytearray(png(1)), b"text", png(2)[:-40], {"json": 1}, None, png(3)]
    requests = [{"body": body} for body in bodies]
    answers = handler.handle(requests, context)
    predictor = Predictor(tiny_store.read("tiny", 1))
    for index in (0, 5):
        expected = predictor.classify(bytes(bodies[index]))
        assert answers[index]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert answers[index]["request_id"] == f"id-{index}"
    assert {index: status for index, (status, _) in context.statuses.items()} == {1: 415, 2: 400, 3: 415, 4: 400}
    assert answers[4]["error"] == "empty_body"


def test_the_archive_alone_is_enough(archive: Path, png: Callable[..., bytes]) -> None:
    """In a process that sees the archive's folder and no room of Candor."""
    program = """
import json, sys
sys.path.insert(0, ".")
from types import SimpleNamespace
from torchserve_handler import CandorHandler
context = SimpleNamespace(system_properties={"model_dir": "."}, get_request_header=lambda *_: None)
handler = CandorHandler()
handler.initialize(context)
print(json.dumps(handler.handle([{"body": sys.stdin.buffer.read()}], context)))
print(sys.modules["model_store"].__file__)
"""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=archive,
        input=png(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    answers, package = run.stdout.decode().splitlines()
    assert json.loads(answers)[0]["model"] == "tiny"
    assert (archive / package).resolve().is_relative_to(archive.resolve())
