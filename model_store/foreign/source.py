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
from calibration.wording import some
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_names import MULTI_LABEL
from model_store.foreign.class_scores import Reading
from model_store.foreign.image_processor import ProcessorRefused, said_by
from model_store.foreign.onnx_file import read_onnx
from model_store.foreign.preprocessing import Normalization, Order, Resize
from model_store.foreign.sandbox import Sandbox
from model_store.image import Resample

MAX_JSON_BYTES: Final = 2**24
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
ONNX_PLACES: Final = ("model.onnx", "onnx/model.onnx")
MODEL_SUFFIXES: Final = (".onnx", ".pt", ".pth", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class ForeignSource:
    """A model and what is known about it.

    Attributes:
        model: the graph, read but not run.
        file: name of the file; `sha256` of its bytes.
        classes: names from the maker, empty if unknown; `classes_from` says where they stood.
        size: (height, width) of the model's input; `decoded` that to which an image is resized
            before a center crop.
        normalization: name and numbers; `preprocessing_from` says where they stood.
        order, resize, resample: as in `Preprocessing`.
        reading: whether classes exclude each other, None if the maker does not say so;
            `reading_from` says where it stood.
    """

    model: onnx.ModelProto
    file: str
    sha256: str
    classes: tuple[str, ...] = ()
    classes_from: str = ""
    size: tuple[int, int] | None = None
    decoded: tuple[int, int] | None = None
    normalization: tuple[str, Normalization] | None = None
    preprocessing_from: str = ""
    order: Order | None = None
    resize: Resize | None = None
    resample: Resample = "bilinear"
    reading: Reading | None = None
    reading_from: str = ""

    def resized(self, size: tuple[int, int]) -> "ForeignSource":
        """The same for images of another size, of which the maker's crop says nothing."""
        return self if size == self.size else replace(self, size=size, decoded=None)

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
    told = next((e.key for e in source.model.metadata_props if e.key.lower() in MULTI_LABEL), None)
    if told is None:
        return source
    return replace(source, reading="findings", reading_from=f"the file's metadata name its {told}")


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
    source = ForeignSource(read_onnx(file, sandbox), file.name, file_sha256(file))
    return replace(source, **said_by_maker(folder))


def said_by_maker(folder: Path) -> dict[str, Any]:
    """Return what the JSON files of a Hugging Face folder say, as fields of ForeignSource.

    Raises ForeignModelRefused if one of them cannot be understood.
    """
    config, processor = read_json(folder / CONFIG), read_json(folder / PROCESSOR)
    said: dict[str, Any] = {}
    if names := config.get("id2label"):
        if not isinstance(names, dict) or not all(each.isdecimal() for each in names):
            raise ForeignModelRefused(
                f"{folder / CONFIG}: id2label is no mapping from numbers to names"
            )
        said["classes"] = tuple(str(names[each]) for each in sorted(names, key=int))
        said["classes_from"] = f"from {CONFIG}"
        said |= _reading(config.get("problem_type"))
    if not processor:
        return said
    remedy = "import the ONNX file itself, with --classes, --pixels, --size and --resize"
    try:
        return said | said_by(processor) | {"preprocessing_from": f"from {PROCESSOR}"}
    except ProcessorRefused as error:
        raise ForeignModelRefused(f"{folder / PROCESSOR} {error}: {remedy}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise ForeignModelRefused(
            f"{folder / PROCESSOR} cannot be understood ({error}): {remedy}"
        ) from error


def _reading(problem: object) -> dict[str, Any]:
    """Whether classes exclude each other; without a word they do in Transformers' pipelines."""
    if problem == "multi_label_classification":
        return {"reading": "findings", "reading_from": f"{CONFIG} says {problem}"}
    why = f"{CONFIG} says {problem}" if problem else "Transformers' pipelines apply a softmax"
    return {"reading": "exclusive", "reading_from": why}


def read_json(path: Path) -> dict[str, Any]:
    """Return a small JSON object from a file, {} if there is none. Raises ForeignModelRefused."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ForeignModelRefused(
            f"{path} has over {MAX_JSON_BYTES:,} bytes, which is no such file's size"
        )
    return _object(path.read_bytes(), path)


def _object(data: bytes, path: object) -> dict[str, Any]:
    try:
        parsed = strict_json.read_json(data)
    except ValueError as error:
        raise ForeignModelRefused(f"{path} is not JSON ({str(error)[:100]})") from error
    if not isinstance(parsed, dict):
        raise ForeignModelRefused(f"{path} is no JSON object")
    return parsed
