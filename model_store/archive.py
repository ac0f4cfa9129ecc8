"""The TorchServe archive: a zip of the graph, the card, the handler and the preprocessing it needs.

Written here rather than by torch-model-archiver, whose upstream is archived: the format is one manifest.
"""

import json
import zipfile
from pathlib import Path

from model_store.card import Card

_ROOM = Path(__file__).parent
HANDLER = "torchserve_handler.py"
# The handler imports these as `model_store.*`, from inside the archive, so they stay under that name.
_PREPROCESSING = (
    "__init__.py",
    "errors.py",
    *(f"image/{name}.py" for name in ("__init__", "decoder", "dicom", "gray")),
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time stamp: equal bundles give equal archives

MODEL_CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 16\nmaxBatchDelay: 5\nresponseTimeout: 120\n"


def write_archive(path: Path, *, card: Card, onnx: bytes) -> None:
    """Write `<name>.mar` for the model in `onnx`; the card goes in without file hashes, being part of the archive, and
    without what only the monitor reads."""
    members: dict[str, bytes] = {
        "MAR-INF/MANIFEST.json": _manifest(card).encode(),
        "model-config.yaml": MODEL_CONFIG.encode(),
        "model.onnx": onnx,
        "card.json": card.model_dump_json(exclude={"files", "input_reference"}).encode(),
        HANDLER: (_ROOM / HANDLER).read_bytes(),
    }
    members |= {f"model_store/{name}": (_ROOM / name).read_bytes() for name in _PREPROCESSING}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), data, zipfile.ZIP_DEFLATED)


def _manifest(card: Card) -> str:
    model = {
        "modelName": card.name,
        "modelVersion": f"{card.version}.0",
        "serializedFile": "model.onnx",
        "handler": HANDLER,
        "configFile": "model-config.yaml",
    }
    return json.dumps({"runtime": "python", "model": model, "archiverVersion": "0.12.0"}, indent=2)
