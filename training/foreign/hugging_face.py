"""A Hugging Face folder without an ONNX file: its network is built by transformers and exported.

Only safetensors are read, nothing is downloaded, and code in the folder is not run.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model_store.errors import ForeignModelRefused
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.source import CONFIG, ForeignSource, read_json, said_by_maker
from training.foreign.graph_export import exported

WEIGHTS = "model.safetensors"
USUAL_SIZE = 224


class _Scores(nn.Module):
    """A transformers classifier that returns its logits alone."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(pixel_values=image).logits
        return logits


def from_folder(
    folder: Path, sandbox: Sandbox, *, size: tuple[int, int] | None = None
) -> ForeignSource:
    """Return the image classifier in `folder` as a graph, for images of `size` or as it says.

    Raises ForeignModelRefused: transformers is not installed, or the folder has no image classifier
    as safetensors.
    """
    if not (folder / WEIGHTS).is_file():
        raise ForeignModelRefused(
            f"{folder} has neither model.onnx nor {WEIGHTS}: save the model with "
            "`save_pretrained(folder)`"
        )
    config = read_json(folder / CONFIG)
    try:
        from transformers import AutoModelForImageClassification
    except ModuleNotFoundError as error:
        raise ForeignModelRefused(
            f"{folder} holds no ONNX file, and building its network needs transformers ({error}): "
            "pip install transformers, or export it with `optimum-cli export onnx`"
        ) from error
    try:
        classifier = AutoModelForImageClassification.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ForeignModelRefused(
            f"{folder} holds no image classifier that transformers builds "
            f"({str(error).splitlines()[0][:200]})"
        ) from error
    said = said_by_maker(folder)
    own = size or said.size or _configured_size(config)
    channels = int(config.get("num_channels", 3))
    network, path = _Scores(classifier), folder / WEIGHTS
    return exported(network, path, sandbox, channels=channels, size=own, said=said)


def _configured_size(config: dict[str, Any]) -> tuple[int, int]:
    said = config.get("image_size", USUAL_SIZE)
    return (
        (int(said[0]), int(said[1]))
        if isinstance(said, list) and len(said) == 2
        else (int(said), int(said))
    )
