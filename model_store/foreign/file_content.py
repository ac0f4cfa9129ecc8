"""What a file or folder holds, by its content. Its name is not asked, and nothing is unpickled."""

import zipfile
from pathlib import Path
from typing import Final, Literal

from model_store.errors import ForeignModelRefused

Content = Literal["onnx", "weights", "folder"]

_FORMATS: Final = "docs/how-to/import-a-model.md lists the commands that convert other formats"
_PICKLES: Final = tuple(b"\x80" + bytes([each]) for each in (2, 3, 4, 5))
_LEGACY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of torch.save before 1.6


def content_of(path: Path) -> Content:
    """Return what `path` holds, among what import reads; "onnx" where only a parser can tell.

    Raises ForeignModelRefused for what is plainly something else.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise ForeignModelRefused(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] == b"PK\x03\x04":
        return _of_zip(path)
    if _LEGACY in start[:20] or _is_safetensors(path, start):
        return "weights"
    if start[:2] in _PICKLES:
        raise ForeignModelRefused(
            f"{path} is a pickle, which Candor never loads, since it runs code: export the model "
            f"to ONNX where it was made; {_FORMATS}"
        )
    return "onnx"


def _is_safetensors(path: Path, start: bytes) -> bool:
    size = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= size <= path.stat().st_size - 8


def _of_zip(path: Path) -> Content:
    """Tell files of tensors, as torch writes them, from archives. Raises ForeignModelRefused."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ForeignModelRefused(
            f"{path} is a damaged zip file ({error}): copy or download it again"
        ) from error
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise ForeignModelRefused(
            f"{path} is TorchScript: export it where it was made, with `torch.onnx.export(model, "
            "(images,), 'model.onnx', dynamo=False)`"
        )
    if "data.pkl" in names:
        return "weights"
    raise ForeignModelRefused(
        f"{path} is a zip file with {', '.join(names[:3])[:150]}: unpack it and import the ONNX "
        f"file in it, if there is one; {_FORMATS}"
    )
