"""A torch module in memory as a foreign source, compared with torch before anybody relies on it."""

import io
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from model_store.errors import ForeignModelRefused
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.onnx_file import checked
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.source import ForeignSource, file_sha256
from model_store.runtime import ORT_ERRORS, ort

OPSET = 18
MAX_DIFFERENCE = 1e-3  # of a score, relative to the largest


def exported(
    module: nn.Module,
    path: Path,
    sandbox: Sandbox,
    *,
    channels: int,
    size: tuple[int, int] | None,
    said: ImportChoices,
) -> ForeignSource:
    """Return the graph of a module from images (N, C, H, W) to scores (N, K), for any N.

    Images are of `size`, or of that which the maker has `said`. `path` is the file from which its
    weights come. Raises ForeignModelRefused if it cannot be exported, or if ONNX Runtime does not
    say what torch says.
    """
    images = torch.rand(
        2, channels, *(size or said.size or ()), generator=torch.Generator().manual_seed(0)
    )
    model = _graph(module.eval(), images, path)
    with torch.inference_mode():
        expected = module(images)
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    except ORT_ERRORS as error:
        raise ForeignModelRefused(
            f"ONNX Runtime cannot run the network of {path}: {str(error)[:200]}"
        ) from error
    difference = float(
        (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
    )
    if not difference <= MAX_DIFFERENCE:
        raise ForeignModelRefused(
            f"the network of {path} gives scores in ONNX Runtime that differ from torch's by "
            f"{difference:.1e}, relatively"
        )
    graph = checked(model.SerializeToString(), path, sandbox)
    return ForeignSource(graph, path.name, file_sha256(path), said, gives_logits=True)


def _graph(module: nn.Module, images: torch.Tensor, path: Path) -> onnx.ModelProto:
    """Export with torch's exporter, and with its older one where that fails."""
    failure: Exception | None = None
    for dynamo in (True, False):
        buffer = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    module,
                    (images,),
                    None if dynamo else buffer,  # type: ignore[arg-type]  # which torch takes, though its annotation does not
                    input_names=["image"],
                    output_names=["scores"],
                    opset_version=OPSET,
                    dynamo=dynamo,
                    verbose=False,
                    **(
                        {"dynamic_shapes": ({0: "batch"},)}
                        if dynamo
                        else {"dynamic_axes": {"image": {0: "batch"}}}
                    ),
                )
        except Exception as error:  # noqa: BLE001 - both exporters raise whatever a network makes them raise
            failure = failure or error
            continue
        return onnx.load_from_string(buffer.getvalue()) if program is None else program.model_proto
    raise ForeignModelRefused(
        f"torch cannot export the network of {path} to ONNX ({str(failure).splitlines()[0][:200]})"
    ) from failure
