"""Where a foreign model comes from, and what its maker says about it beside the graph.

An ONNX file, or a folder as Hugging Face writes it. What the maker says about classes, size and
pixels holds, unless the caller says something else or labeled images contradict it.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnx

from calibration import strict_json
from calibration.wording import parameter, some
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_names import MULTI_LABEL, ClassNames
from model_store.foreign.image_processor import ProcessorRefused, said_by
from model_store.foreign.import_choices import NOTHING_SAID, ImportChoices, Scores
from model_store.foreign.onnx_file import read_onnx
from model_store.foreign.sandbox import Sandbox

MAX_JSON_BYTES: Final = 2**24
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
ONNX_PLACES: Final = ("model.onnx", "onnx/model.onnx")
MODEL_SUFFIXES: Final = (".onnx", ".pt", ".pth", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class ForeignSource:
    """A model and what its maker says.

    Attributes:
        model: the graph, read but not run.
        file: name of the file; `sha256` of its bytes.
        gives_logits: whether the network is known to give logits.
    """

    model: onnx.ModelProto
    file: str
    sha256: str
    said: ImportChoices = NOTHING_SAID
    gives_logits: bool = False

    @property
    def producer(self) -> str:
        """Who wrote the graph, as it says itself."""
        return (
            f"{self.model.producer_name} {self.model.producer_version}".strip()[:200] or "unknown"
        )

    @property
    def opset(self) -> int:
        """Its opset of standard operators."""
        return max(
            (each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")),
            default=0,
        )


def open_source(path: Path, sandbox: Sandbox) -> ForeignSource:
    """Read an ONNX file, or a Hugging Face folder that holds one. Raises ForeignModelRefused."""
    if path.is_dir():
        return _from_folder(path, sandbox)
    source = ForeignSource(read_onnx(path, sandbox), path.name, file_sha256(path))
    named = any(each.key.lower() in MULTI_LABEL for each in source.model.metadata_props)
    return replace(source, said=ImportChoices(scores="sigmoid")) if named else source


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_folder(folder: Path, sandbox: Sandbox) -> ForeignSource:
    file = next((folder / name for name in ONNX_PLACES if (folder / name).is_file()), None)
    if file is None:
        near = (*folder.glob("*"), *folder.glob("*/*"))
        held = [each for each in near if each.suffix in MODEL_SUFFIXES]
        advice = f": import {some(sorted(map(str, held)), 3)} itself" if held else ""
        raise ForeignModelRefused(f"{folder} has no {' or '.join(ONNX_PLACES)}{advice}")
    said = said_by_maker(folder)
    return ForeignSource(read_onnx(file, sandbox), file.name, file_sha256(file), said)


def said_by_maker(folder: Path) -> ImportChoices:
    """Return what the JSON files of a Hugging Face folder say.

    Raises ForeignModelRefused if one of them cannot be understood.
    """
    config, processor = read_json(folder / CONFIG), read_json(folder / PROCESSOR)
    said = NOTHING_SAID
    if names := config.get("id2label"):
        if not isinstance(names, dict) or not all(each.isdecimal() for each in names):
            raise ForeignModelRefused(
                f"{folder / CONFIG}: id2label is no mapping from numbers to names"
            )
        ordered = tuple(str(names[each]) for each in sorted(names, key=int))
        # Without a word, Transformers' pipelines apply a softmax.
        multi = config.get("problem_type") == "multi_label_classification"
        scores: Scores = "sigmoid" if multi else "softmax"
        said = ImportChoices(classes=ClassNames(ordered, f"from {CONFIG}"), scores=scores)
    if not processor:
        return said
    named = ", ".join(map(parameter, ("classes", "pixels", "size", "resize")))
    remedy = f"import the ONNX file itself, with {named}"
    try:
        return replace(said, **said_by(processor, f"from {PROCESSOR}"))
    except ProcessorRefused as error:
        raise ForeignModelRefused(f"{folder / PROCESSOR} {error}: {remedy}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise ForeignModelRefused(
            f"{folder / PROCESSOR} cannot be understood ({error}): {remedy}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a small JSON object from a file, {} if there is none. Raises ForeignModelRefused."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ForeignModelRefused(
            f"{path} has over {MAX_JSON_BYTES:,} bytes, which is no such file's size"
        )
    try:
        parsed = strict_json.read_json(path.read_bytes())
    except ValueError as error:
        raise ForeignModelRefused(f"{path} is not JSON ({str(error)[:100]})") from error
    if not isinstance(parsed, dict):
        raise ForeignModelRefused(f"{path} is no JSON object")
    return parsed
