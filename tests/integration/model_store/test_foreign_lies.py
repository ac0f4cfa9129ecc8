"""What the confined process of an import may say after a file has taken it over: each lie ends in
a sentence, and nothing is published.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.errors import ForeignModelRefused
from model_store.foreign import sandbox as sandbox_module
from model_store.foreign.frames import MAX_HEAD_BYTES
from model_store.foreign.sandbox import Sandbox
from tests.builders.bundles import color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.processes import candor_here


def frame(head: object, body: bytes = b"") -> bytes:
    """A message with any head."""
    data = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<QQ", len(data), len(body)) + data + body


def arrays(*listed: object, body: bytes = b"") -> bytes:
    return frame({"said": {}, "arrays": list(listed)}, body)


RAW: dict[str, bytes] = {
    "nothing": b"",
    "a length of 2^63": struct.pack("<QQ", 2**63, 0),
    "a body of 2^63": struct.pack("<QQ", 10, 2**63) + b"{}",
    "a head that is too long": struct.pack("<QQ", MAX_HEAD_BYTES + 1, 0),
    "a body that never comes": struct.pack("<QQ", 30, 2**28) + b'{"said": {}, "arrays": []}    ',
    "a broken archive": struct.pack("<Q", 4) + b"PK\x03\x04" + bytes(20),
    "half a head": struct.pack("<QQ", 10, 0) + b"{",
    "no JSON": frame(b"\xff\xfe"),
    "deep JSON": frame(b"[" * 30_000),
    "a long number": frame(b'{"said": {"error": ' + b"9" * 10_000 + b'}, "arrays": []}'),
    "a list": frame([]),
    "no arrays": frame({"said": {"inputs": []}}),
    "an error that is a number": frame({"said": {"error": 1}, "arrays": []}),
    "missing fields": frame({"said": {}, "arrays": []}),
    "extra fields": frame({"said": {"inputs": [], "more": 1}, "arrays": []}),
    "wrong types": frame({"said": {"inputs": [{"name": 1}]}, "arrays": []}),
    "inputs that are others": frame(
        {
            "said": {"inputs": [{"name": "y", "type": "tensor(float)", "shape": [1, 3, 8, 8]}]},
            "arrays": [],
        }
    ),
    "a pickled array": arrays(["model", "object", [1]], body=bytes(8)),
    "a negative shape": arrays(["model", "uint8", [-1]]),
    "a shape of 2^63": arrays(["model", "uint8", [2**63]]),
    "a shape that is true": arrays(["model", "uint8", [True]], body=b"x"),
    "other lengths": arrays(["model", "uint8", [3]], body=b"x"),
    "no graph": frame(
        {"said": {"refused": None, "missing": []}, "arrays": [["model", "uint8", [4]]]}, b"\xff" * 4
    ),
    "files outside": frame({"said": {"missing": ["../../etc/passwd"]}, "arrays": []}),
    "endless output": b"endless",
}
_SAY = """
import json, os, sys
out = os.fdopen(os.dup(1), "wb")
said = bytes.fromhex({said!r})
try:
    while said == b"endless":
        out.write(bytes(2**16))
    out.write(said)
    out.flush()
    sys.stdin.buffer.read() if said[-3:] != b"]  " else None
except OSError:
    pass
"""


@pytest.mark.parametrize("lie", RAW)
def test_a_lie_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    monkeypatch.setattr(sandbox_module, "_START", _SAY.format(said=RAW[lie].hex()))
    monkeypatch.setattr(Sandbox.__init__, "__kwdefaults__", {"memory_bytes": None, "seconds": 2})
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"))
    said = ("--classes", "a,b,c", "--pixels", "unit")
    done = candor_here("import", path, "--store", tmp_path / "store", *said)
    assert done.exit_code == 1
    assert isinstance(done.exception, ForeignModelRefused), done.exception
    assert "\n" not in str(done.exception)
    assert len(str(done.exception)) < 500
    assert not (tmp_path / "store").exists()


# What the process does with the scores of a run, as source.
CHANGED: dict[str, str] = {
    "not a number": "{name: value * np.nan for name, value in given.items()}",
    "infinite": "{name: value + np.inf for name, value in given.items()}",
    "fewer rows": "{name: value[:-1] for name, value in given.items()}",
    "more classes": "{name: np.hstack([value, value]) for name, value in given.items()}",
    "one number": "{name: np.float32(1).reshape(()) for name, value in given.items()}",
    "no scores": "{}",
    "other names": "{name + 'x': value for name, value in given.items()}",
    "whole numbers": "{name: np.zeros(value.shape, 'int64') for name, value in given.items()}",
}
# From which run on it lies.
_FIRST: dict[str, Callable[[str], str]] = {
    "at once": lambda change: f"given = {change}",
    "later": lambda change: f"calls.append(1); given = {change} if len(calls) > 25 else given",
}


@pytest.mark.parametrize("first", _FIRST)
@pytest.mark.parametrize("change", CHANGED)
def test_scores_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, first: str
) -> None:
    hostile = f"""
import numpy as np
from model_store.foreign import sandbox_worker
honest, calls = sandbox_worker.run, []
def run(*asked):
    given = honest(*asked)
    {_FIRST[first](CHANGED[change])}
    return given
sandbox_worker.run = run
"""
    start, call = sandbox_module._START.split("importlib.import_module")
    monkeypatch.setattr(
        sandbox_module, "_START", f"{start}\n{hostile}\nimportlib.import_module{call}"
    )
    path = foreign_onnx(
        tmp_path / "model.onnx", linear("Softmax"), constants={"weights": color_weights()}
    )
    folder = labeled_folder(tmp_path / "labeled")
    said = ("--classes", "a,b,c", "--pixels", "unit", "--data", str(folder), "--anyway")
    done = candor_here("import", path, "--store", tmp_path / "store", *said)
    if change == "whole numbers" and done.exit_code == 0:
        return  # scores like any others
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, ForeignModelRefused), done.exception
    assert "\n" not in str(done.exception)
    assert not list((tmp_path / "store").rglob("card.json"))
