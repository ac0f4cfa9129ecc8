"""Where a foreign model comes from, and what its maker says about it beside the graph.

An ONNX file, a folder as Hugging Face writes it, or a TorchServe archive that holds ONNX. What the
maker says about classes, size and pixels is believed, unless the caller says something else.
"""

import hashlib
import json
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import onnx

from calibration.wording import some
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_names import MULTI_LABEL
from model_store.foreign.class_scores import Reading
from model_store.foreign.file_content import content_of
from model_store.foreign.onnx_file import MAX_BYTES, read_onnx
from model_store.foreign.preprocessing import NORMALIZATIONS, Normalization, Order

MAX_JSON_BYTES: Final = 2**24
MAX_RATIO: Final = 50  # of what unpacks to more than that; weights hardly shrink
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
ONNX_PLACES: Final = ("model.onnx", "onnx/model.onnx")
MODEL_SUFFIXES: Final = (".onnx", ".ts", ".pt", ".pth", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class ForeignSource:
    """A model and what is known about it.

    Attributes:
        model: the graph, read but not run.
        file: name of the file; `sha256` of its bytes.
        beside: the folder in which a list of classes may stand, None if there is none.
        classes: names from the maker, empty if unknown; `classes_from` says where they stood.
        size: (height, width) of the model's input; `decoded` that to which an image is resized
            before a center crop.
        normalization: name and numbers; `preprocessing_from` says where they stood.
        order, resize: as in `Preprocessing`.
        reading: whether classes exclude each other, None if the maker does not say so;
            `reading_from` says where it stood.
    """

    model: onnx.ModelProto
    file: str
    sha256: str
    beside: Path | None = None
    classes: tuple[str, ...] = ()
    classes_from: str = ""
    size: tuple[int, int] | None = None
    decoded: tuple[int, int] | None = None
    normalization: tuple[str, Normalization] | None = None
    preprocessing_from: str = ""
    order: Order | None = None
    resize: Literal["stretch", "crop"] | None = None
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


def open_source(path: Path) -> ForeignSource:
    """Read a model that needs no torch, by its content. Raises ForeignModelRefused."""
    content = content_of(path)
    if content == "folder":
        return _from_folder(path)
    if content == "torchserve":
        return _from_archive(path)
    if content == "torchscript":
        raise ForeignModelRefused(f"{path} is TorchScript, which `candor import` exports")
    if content == "weights":
        raise ForeignModelRefused(
            f"{path} holds weights without their network: name it, as in `candor import "
            "--architecture torchvision/resnet18`"
        )
    source = ForeignSource(
        read_onnx(path), path.name, file_sha256(path), beside=path.resolve().parent
    )
    told = next((e.key for e in source.model.metadata_props if e.key.lower() in MULTI_LABEL), None)
    if told is None:
        return source
    return replace(source, reading="findings", reading_from=f"the file's metadata name its {told}")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_folder(folder: Path) -> ForeignSource:
    file = next((folder / name for name in ONNX_PLACES if (folder / name).is_file()), None)
    if file is None:
        near = (*folder.glob("*"), *folder.glob("*/*"))
        held = [each for each in near if each.suffix in MODEL_SUFFIXES]
        advice = f": import {some(sorted(map(str, held)), 3)} itself" if held else ""
        raise ForeignModelRefused(f"{folder} has no {' or '.join(ONNX_PLACES)}{advice}")
    source = ForeignSource(read_onnx(file), file.name, file_sha256(file), beside=folder)
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
    try:
        return said | (_said(processor) if processor else {})
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise ForeignModelRefused(
            f"{folder / PROCESSOR} cannot be understood ({error}): give --normalize and --size"
        ) from error


def _reading(problem: object) -> dict[str, Any]:
    """Whether classes exclude each other; without a word they do in Transformers' pipelines."""
    if problem == "multi_label_classification":
        return {"reading": "findings", "reading_from": f"{CONFIG} says {problem}"}
    why = f"{CONFIG} says {problem}" if problem else "Transformers' pipelines apply a softmax"
    return {"reading": "exclusive", "reading_from": why}


def _said(processor: dict[str, Any]) -> dict[str, Any]:
    """Translate a Hugging Face image processor."""
    rescaled = processor.get("do_rescale", True)
    divisor = 1 / float(processor.get("rescale_factor", 1 / 255)) if rescaled else 1.0
    numbers = Normalization(round(divisor, 6))
    if processor.get("do_normalize", True):
        mean, std = processor.get("image_mean", [0.5]), processor.get("image_std", [0.5])
        numbers = Normalization(round(divisor, 6), _numbers(mean), _numbers(std))
    name = next((name for name, usual in NORMALIZATIONS.items() if usual == numbers), "given")
    said: dict[str, Any] = {
        "normalization": (name, numbers),
        "preprocessing_from": f"from {PROCESSOR}",
        "order": "rgb",
    }
    if processor.get("do_resize", True) is False:
        return said
    whole, edge = _sizes(processor.get("size", {}))
    if processor.get("do_center_crop") and processor.get("crop_size") is not None:
        inner = _sizes(processor["crop_size"])
        size = inner[0] or (int(inner[1]), int(inner[1]))
        outer = whole or (int(edge), int(edge))
        decoded, resize = max(outer, size), "stretch" if whole else "crop"
        return said | {"size": size, "decoded": decoded, "resize": resize}
    if whole is None and edge is not None:
        larger = round(int(edge) / float(processor.get("crop_pct") or 1))
        sizes = {"size": (int(edge),) * 2, "decoded": (larger,) * 2}
        return said | sizes | {"resize": "crop"}
    return said | {"size": whole, "resize": "stretch"}


def _sizes(said: Any) -> tuple[tuple[int, int] | None, Any]:
    """Return height and width, or else the length of the shorter edge."""
    if isinstance(said, int):
        return None, said
    if "height" in said:
        return (int(said["height"]), int(said["width"])), None
    return None, said.get("shortest_edge")


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (values if isinstance(values, list) else [values]))


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
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ForeignModelRefused(f"{path} is not JSON ({str(error)[:100]})") from error
    if not isinstance(parsed, dict):
        raise ForeignModelRefused(f"{path} is no JSON object")
    return parsed


def _from_archive(path: Path) -> ForeignSource:
    """Take the ONNX file out of a TorchServe archive. Nothing else in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _object(
                _member(archive, "MAR-INF/MANIFEST.json", MAX_JSON_BYTES, path),
                f"{path}: MANIFEST.json",
            )
            inner = manifest.get("model")
            name = inner.get("serializedFile") if isinstance(inner, dict) else None
            if not isinstance(name, str) or not name.endswith(".onnx"):
                raise ForeignModelRefused(
                    f"{path} holds {name or 'no model file'!r} and no ONNX file. What TorchServe "
                    "loads else is a pickle, which Candor never loads: export the model to ONNX"
                )
            data = _member(archive, name, MAX_BYTES, path)
            listed = (
                _member(archive, "index_to_name.json", MAX_JSON_BYTES, path)
                if "index_to_name.json" in archive.namelist()
                else b"{}"
            )
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ForeignModelRefused(
            f"{path} is no TorchServe archive, or it is damaged ({error})"
        ) from error
    with tempfile.TemporaryDirectory(prefix="candor-import-") as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(data)
        try:
            model = read_onnx(file)
        except ForeignModelRefused as error:
            raise ForeignModelRefused(str(error).replace(str(file), f"{path}: {name}")) from error
    source = ForeignSource(model, path.name, file_sha256(path))
    names = _object(listed, f"{path}: index_to_name.json")
    if names and all(each.isdecimal() for each in names):
        ordered = [names[each] for each in sorted(names, key=int)]
        classes = tuple(
            str(each[-1] if isinstance(each, list) and each else each) for each in ordered
        )
        source = replace(source, classes=classes, classes_from="from index_to_name.json")
    if isinstance(inner, dict) and inner.get("handler") == "image_classifier":
        why = "TorchServe's image_classifier applies a softmax"
        source = replace(source, reading="exclusive", reading_from=why)
    return source


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    """Return a file of the archive; refused if it is absent, or unpacks to more than `limit`."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ForeignModelRefused(
            f"{path} has no {name}, so it is no TorchServe archive of an ONNX model"
        ) from None
    if entry.file_size > limit:
        raise ForeignModelRefused(
            f"{path}: {name} unpacks to {entry.file_size:,} bytes; at most {limit:,} are taken"
        )
    if entry.file_size > MAX_JSON_BYTES + MAX_RATIO * entry.compress_size:
        raise ForeignModelRefused(
            f"{path}: {name} unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes; at "
            f"most {MAX_RATIO} times as many are taken: pack the archive without compression"
        )
    with archive.open(entry) as file:
        return file.read(limit + 1)
