"""The TorchServe archive: a zip of the graph, the card, the handler and the preprocessing it needs.

It is written here because torch-model-archiver is no longer maintained and the format is one manifest.
"""

import json
import zipfile
from pathlib import Path

from model_store.card import Card

_ROOM = Path(__file__).parent
HANDLER = "torchserve_handler.py"
# The handler imports these from inside the archive as `model_store.*`, so they keep that name.
_PREPROCESSING = (
    "__init__.py",
    "errors.py",
    "runtime.py",
    *(f"image/{name}.py" for name in ("__init__", "cost", "decoder", "dicom", "gray")),
)
# A fixed time stamp and no compression, whose bytes depend on the zlib: equal bundles give equal archives everywhere.
_EPOCH = (1980, 1, 1, 0, 0, 0)

MODEL_CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 16\nmaxBatchDelay: 5\nresponseTimeout: 120\n"


def write_archive(path: Path, *, card: Card, onnx: bytes) -> None:
    """Write `<name>.mar` for the model in `onnx`.

    Its card has no file hashes, because it is part of the archive, and nothing that only the monitor reads.
    """
    members: dict[str, bytes] = {
        "MAR-INF/MANIFEST.json": _manifest(card).encode(),
        "model-config.yaml": MODEL_CONFIG.encode(),
        "model.onnx": onnx,
        "card.json": card.model_dump_json(exclude={"files", "input_reference"}).encode(),
        HANDLER: (_ROOM / HANDLER).read_bytes(),
    }
    members |= {f"model_store/{name}": (_ROOM / name).read_bytes() for name in _PREPROCESSING}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), data, zipfile.ZIP_STORED)


def _manifest(card: Card) -> str:
    model = {
        "modelName": card.name,
        "modelVersion": f"{card.version}.0",
        "serializedFile": "model.onnx",
        "handler": HANDLER,
        "configFile": "model-config.yaml",
    }
    return json.dumps({"runtime": "python", "model": model, "archiverVersion": "0.12.0"}, indent=2)
