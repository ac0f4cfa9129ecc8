"""What a file or folder holds, by its content. Its name is not asked, and nothing is unpickled.

Zip archives are told apart by the names in them, pickles by the opcodes that name classes. Opcodes
are read, never run.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from model_store.errors import ForeignModelRefused

Content = Literal["onnx", "weights", "torchscript", "torchserve", "folder"]

MAX_PICKLE_BYTES: Final = 2**26
_NEVER: Final = "which Candor never loads, since a pickle runs code"
_EXPORT: Final = "`torch.onnx.export(model.eval(), images, 'model.onnx', dynamo=True)`"
_SCIKIT: Final = "`skl2onnx.to_onnx(model, x[:1].astype('float32'), options={'zipmap': False})`"
# How a file begins, at which byte, and what to do.
_BEGINNINGS: Final = (
    (
        b"\x89HDF\r\n\x1a\n",
        0,
        "a Keras HDF5 file: load it and call `model.export('model.onnx', format='onnx')`",
    ),
    (
        b"TFL3",
        4,
        "a TensorFlow Lite file: convert it with `python -m tf2onnx.convert --tflite FILE "
        "--output model.onnx`",
    ),
    (
        b"ORTM",
        4,
        "in ONNX Runtime's own format (.ort): import the .onnx file from which it was made",
    ),
    (
        b"version https://git-lfs",
        0,
        "a Git LFS pointer, not the model itself: fetch it with `git lfs pull`",
    ),
    (b"\x1f\x8b", 0, "compressed with gzip: unpack it first"),
    (b"BZh", 0, "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", 0, "compressed with xz: unpack it first"),
    *(
        (
            start,
            0,
            f"compressed, as joblib writes pickles, {_NEVER}: convert the model with {_SCIKIT}",
        )
        for start in (b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"ZF")
    ),
    (b"ET12", 4, "an ExecuTorch program: import the model from which it was made"),
    (b"\x81\xa6params", 0, "Flax's msgpack: export the model with `jax2onnx`"),
    (b"GGUF", 0, "a language model (GGUF), no image classifier"),
    (b"ftrt", 0, "a TensorRT engine, for one kind of GPU: import the ONNX file it was built from"),
    (b"7767517\n", 0, "an ncnn network: import the model from which it was converted"),
    (b"tree\n", 0, "a LightGBM model: convert it with `onnxmltools.convert_lightgbm`"),
)
# Files of a folder, and what to do.
_FOLDERS: Final = (
    (
        ("saved_model.pb",),
        "a TensorFlow SavedModel: convert it with `python -m tf2onnx.convert --saved-model {} "
        "--output model.onnx`",
    ),
    (("MLmodel",), "an MLflow model: import the file or folder in {}/data"),
    (("Manifest.json", "Data"), "a Core ML package: import the model from which it was made"),
    (("*.pdiparams",), "a PaddlePaddle model: convert it with `paddle2onnx`"),
    (
        ("model.json", "*.bin"),
        "a TensorFlow.js model: convert it with `python -m tf2onnx.convert --tfjs {}/model.json "
        "--output model.onnx`",
    ),
)
_MARKUP: Final = re.compile(rb"\s*<")
_OPENVINO: Final = re.compile(rb"<net[\s>]")
_LEGACY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of torch.save before 1.6
_PICKLES: Final = tuple(b"\x80" + bytes([each]) for each in (2, 3, 4, 5))
# Classes of which a file of tensors is made, in every release of torch.
_TENSORS: Final = re.compile(
    r"(collections\.(OrderedDict|Counter|defaultdict)|builtins\.(set|frozenset|dict|list|int)"
    r"|torch\.Size|torch\.(\w+Storage|\w+Tensor|[a-z]+\d+)"
    r"|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.(Parameter|Buffer)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.storage\.\w+)"
)
_MAKERS: Final = (
    ("sklearn", f"convert it with {_SCIKIT}"),
    ("xgboost", "convert it with `onnxmltools.convert_xgboost`"),
    ("lightgbm", "convert it with `onnxmltools.convert_lightgbm`"),
    ("catboost", "save it with `model.save_model('model.onnx', format='onnx')`"),
    ("keras", "call `model.export('model.onnx', format='onnx')`"),
    ("fastai", f"take `learn.model` and call {_EXPORT}"),
)


@dataclass(frozen=True)
class _Pickle:
    """The classes and functions that a pickle names, and its texts."""

    names: tuple[str, ...]
    texts: frozenset[str]

    @property
    def beyond(self) -> str | None:
        """The first name beyond tensors."""
        return next((each for each in self.names if not _TENSORS.fullmatch(each)), None)

    @property
    def is_lightning(self) -> bool:
        return any(each.startswith("pytorch-lightning") for each in self.texts)


def content_of(path: Path) -> Content:
    """Return what `path` holds, among what import reads; "onnx" where only a parser can tell.

    Raises ForeignModelRefused for anything else, with what to do.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise ForeignModelRefused(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(512)
    for beginning, at, what in _BEGINNINGS:
        if start[at : at + len(beginning)] == beginning:
            raise ForeignModelRefused(f"{path} is {what}")
    if _MARKUP.match(start):
        what = "a web page or XML: download the file itself"
        if _OPENVINO.search(start):
            what = "OpenVINO's format: import the ONNX file from which it was made"
        if b"ir_version" in start:
            what = "ONNX as text: write it with `onnx.save(onnx.load(FILE), 'model.onnx')`"
        raise ForeignModelRefused(f"{path} is {what}")
    if start[:4] == b"PK\x03\x04":
        return _of_zip(path)
    if start[:2] in _PICKLES:
        return _of_pickle(path, start)
    return "weights" if _is_safetensors(path, start) else "onnx"


def _of_folder(folder: Path) -> Content:
    for names, what in _FOLDERS:
        if all(any(folder.glob(name)) for name in names):
            raise ForeignModelRefused(f"{folder} is {what.format(folder)}")
    return "folder"


def _is_safetensors(path: Path, start: bytes) -> bool:
    size = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= size <= path.stat().st_size - 8


def _of_zip(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inner = [name.partition("/")[2] for name in names]
            if "MAR-INF/MANIFEST.json" in names:
                return "torchserve"
            if "constants.pkl" in inner or any(each.startswith("code/") for each in inner):
                return "torchscript"
            if "data.pkl" in inner:
                return _of_tensors(path, _read(archive, names[inner.index("data.pkl")], path))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ForeignModelRefused(
            f"{path} is a damaged zip file ({error}): copy or download it again"
        ) from error
    raise ForeignModelRefused(f"{path} is {_other_zip(names, inner)}")


def _other_zip(names: Sequence[str], inner: Sequence[str]) -> str:
    if "model.weights.h5" in names:
        return "a Keras file: load it and call `model.export('model.onnx', format='onnx')`"
    if "archive_format" in inner or any(each.startswith("data/weights/") for each in inner):
        return (
            "a program of torch.export: call `torch.onnx.export(torch.export.load(FILE), (), "
            "'model.onnx', dynamo=True)` where it was made"
        )
    if "schema.json" in names:
        return f"a file of skops: load it and convert the model with {_SCIKIT}"
    if all(name.endswith(".npy") for name in names):
        return "a NumPy archive, which holds no network: export the model to ONNX"
    graphs = [name for name in names if name.endswith((".onnx", ".pt", ".pth", ".safetensors"))]
    held = graphs or names
    return f"a zip file with {', '.join(held[:3])}: unpack it and import what is inside"


def _read(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).file_size > MAX_PICKLE_BYTES:
        raise ForeignModelRefused(
            f"{path}: {name} has over {MAX_PICKLE_BYTES:,} bytes, which is no list of tensors"
        )
    return archive.read(name)


def _of_pickle(path: Path, start: bytes) -> Content:
    if _LEGACY in start[:20]:
        if path.stat().st_size < MAX_PICKLE_BYTES:
            _of_tensors(path, path.read_bytes())
        return "weights"
    with path.open("rb") as file:
        said = _parsed(file.read(MAX_PICKLE_BYTES))
    name = said.names[0] if said.names else "no class"
    raise ForeignModelRefused(f"{path} is a pickle ({name}), {_NEVER}: {_advice(said)}")


def _of_tensors(path: Path, data: bytes) -> Content:
    """Return "weights". Raises ForeignModelRefused if there is more than tensors."""
    said = _parsed(data)
    if said.beyond is None:
        return "weights"
    if said.is_lightning:
        raise ForeignModelRefused(
            f"{path} is a Lightning checkpoint with more than tensors ({said.beyond}), {_NEVER}: "
            "where it was trained, `torch.save(torch.load(FILE, weights_only=False)['state_dict'], "
            "'weights.pth')`, and import that with --architecture"
        )
    raise ForeignModelRefused(
        f"{path} holds more than tensors, a pickle of {said.beyond}, {_NEVER}: {_advice(said)}"
    )


def _advice(said: _Pickle) -> str:
    for name, what in _MAKERS:
        if any(each.partition(".")[0] == name for each in said.names):
            return f"where it was made, {what}"
    return (
        f"where it was made, call {_EXPORT}, or save `model.state_dict()` and import that with "
        "--architecture"
    )


def _parsed(data: bytes) -> _Pickle:
    """Read the opcodes of one or several pickles in a row, as far as they go."""
    names: list[str] = []
    texts: set[str] = set()
    at = 0
    for _ in range(5):  # legacy files of torch have five, and tensors after them
        before: list[str] = []
        end = at
        for operator, argument, place in _opcodes(data[at:]):
            end = at + place + 1
            if operator == "GLOBAL":
                names.append(str(argument).replace(" ", "."))
            elif operator == "STACK_GLOBAL" and len(before) > 1:
                names.append(".".join(before[-2:]))
            elif isinstance(argument, str):
                before.append(argument)
                texts.add(argument)
        if end == at or end >= len(data):
            break
        at = end
    return _Pickle(tuple(dict.fromkeys(names)), frozenset(texts))


def _opcodes(data: bytes) -> Iterator[tuple[str, object, int]]:
    """Give name, argument and place of each opcode; a damaged pickle ends there."""
    memo: list[str] = []
    try:
        last = ""
        for operator, argument, place in pickletools.genops(data):
            value: object = argument
            if operator.name == "MEMOIZE":
                memo.append(last)
            elif operator.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int):
                value = memo[argument] if argument < len(memo) else argument
            last = argument if isinstance(argument, str) else ""
            yield operator.name, value, place or 0
    except (ValueError, UnicodeError, IndexError, OverflowError):
        return
