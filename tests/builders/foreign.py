"""Foreign models in tests: `candor import` as typed, and what the bundle then says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from model_store.runtime import ort
from model_store.store.store import Store
from tests.builders.processes import candor_here

Array = npt.NDArray[Any]


def run_import(path: Path, *options: str) -> Any:
    """Run the command; the store is beside the file."""
    command = ["import", str(path), "--store", str(path.parent / "store"), "--name", "theirs"]
    return candor_here(*command, "--json", *options)


def imported(path: Path, *options: str) -> dict[str, Any]:
    """Import a file that must be accepted; return the JSON that is printed."""
    done = run_import(path, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout))


def answers(done: Mapping[str, Any], path: Path, pixels: Array) -> Array:
    """The bundle's probabilities (N, K) of pixels (N, C, H, W) uint8."""
    bundle = Store(path.parent / "store").read("theirs", done["version"])
    session = ort.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"image": pixels})[0])


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node; names of tensors have spaces between."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def linear(*after: NodeProto, logits: str = "scores", source: str = "pixels") -> list[NodeProto]:
    """Flatten and MatMul, then whatever follows."""
    return [node("Flatten", source, "flat"), node("MatMul", "flat weights", logits), *after]


def sigmoid(z: Array) -> Array:
    """Of any numbers, in float64."""
    return np.asarray(1 / (1 + np.exp(-z.astype(np.float64))))
