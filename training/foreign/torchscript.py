"""A TorchScript archive as a foreign source: exported in a confined process, and compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.onnx_file import checked
from model_store.foreign.sandbox import Sandbox, WorkerProgram
from model_store.foreign.source import ForeignSource, file_sha256
from training.foreign.graph_export import MAX_DIFFERENCE

WORKER = WorkerProgram("training.foreign.torchscript_worker", "torch", base_bytes=12 * 2**30)


def from_torchscript(path: Path, *, size: tuple[int, int] | None) -> ForeignSource:
    """Return the network at `path` as a graph for images of `size`, (height, width).

    Raises:
        ForeignModelUnclear: the size is unknown.
        ForeignModelRefused: torch cannot export it, or ONNX Runtime does not say what torch says.
    """
    if size is None:
        raise ForeignModelUnclear(
            f"{path} is TorchScript, which does not tell the size of its images: give --size "
            "HEIGHTxWIDTH, the size it was trained on"
        )
    with Sandbox(path.stat().st_size, worker=WORKER) as sandbox:
        content = {"model": np.fromfile(path, np.uint8)}
        try:
            _, given = sandbox.ask({"size": list(size)}, content)
        except ForeignModelRefused as error:
            raise ForeignModelRefused(
                f"{path} is TorchScript that could not be exported: {error}. Export it where it "
                "was made: `torch.onnx.export(model.eval(), images, 'model.onnx', dynamo=True)`"
            ) from error
    graph = given["graph"].tobytes()
    _compare(graph, given, path)
    source = ForeignSource(
        checked(onnx.load_model_from_string(graph), path), path.name, file_sha256(path)
    )
    return replace(source, size=size)


def _compare(graph: bytes, given: dict[str, np.ndarray], path: Path) -> None:
    """Raise ForeignModelRefused if ONNX Runtime and torch differ."""
    with Sandbox(len(graph)) as sandbox:
        session = sandbox.load(graph)
        rows = [
            next(iter(session.run({session.inputs[0].name: image[None]}).values())).ravel()
            for image in given["images"]
        ]
    expected = given["scores"]
    if any(row.size != expected.shape[1] for row in rows):
        raise ForeignModelRefused(f"{path} gives other outputs in ONNX Runtime than in torch")
    difference = np.abs(np.stack(rows) - expected).max() / max(1e-6, np.abs(expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ForeignModelRefused(
            f"{path} gives scores in ONNX Runtime that differ from torch's by {difference:.1e}, "
            "relatively"
        )
