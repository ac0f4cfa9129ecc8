"""The TorchServe archive: a zip of the graph, the card, the handler and the code that it needs.

It is written here because torch-model-archiver is no longer maintained and the format is one
manifest.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from model_store.bundle.card import Card

_ROOT = Path(__file__).parents[2]
HANDLER = "torchserve_handler.py"
# What the handler imports from inside the archive, under the names that it has here.
_IMPORTED = (
    *("calibration/__init__.py", "calibration/bins.py"),
    *("calibration/scope/__init__.py", "calibration/scope/verdict.py"),
    *(
        f"calibration/calibrators/{name}.py"
        for name in ("__init__", "finding_answers", "subgroups")
    ),
    *(f"model_store/{name}.py" for name in ("__init__", "errors", "runtime", "tags")),
    *(
        path.relative_to(_ROOT).as_posix()
        for room in ("image", "torchserve")
        for path in sorted((_ROOT / "model_store" / room).glob("*.py"))
    ),
)
# A fixed time stamp and no compression, whose bytes depend on the zlib: equal bundles give equal
# archives everywhere.
_EPOCH = (1980, 1, 1, 0, 0, 0)

BATCH_SIZE = 16
# With 0 TorchServe polls its queue ten times a second; a longer delay gave no more answers.
BATCH_DELAY_MS = 1


def write_archive(
    path: Path,
    *,
    card: Card,
    onnx: bytes,
    beside: Mapping[str, bytes],
) -> None:
    """Write an archive for the model in `onnx`.

    Its card has no file hashes, because it is part of the archive, and nothing that only the
    monitor reads.

    With the probes in `beside` the handler checks its machine, and with the hashes of images there
    it counts those that the network has seen.
    """
    members: dict[str, bytes] = {
        "MAR-INF/MANIFEST.json": _manifest(card).encode(),
        "model-config.yaml": _model_config().encode(),
        "model.onnx": onnx,
        "card.json": card.model_dump_json(exclude={"files", "input_reference"}).encode(),
        HANDLER: (_ROOT / "model_store/torchserve/handler.py").read_bytes(),
    }
    members |= beside
    members |= {name: (_ROOT / name).read_bytes() for name in _IMPORTED}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), data, zipfile.ZIP_STORED)


def _model_config() -> str:
    settings = {
        "minWorkers": 1,  # ONNX Runtime uses all cores for one batch
        "maxWorkers": 1,
        "batchSize": BATCH_SIZE,
        "maxBatchDelay": BATCH_DELAY_MS,
        "responseTimeout": 120,
    }
    return "".join(f"{name}: {value}\n" for name, value in settings.items())


def _manifest(card: Card) -> str:
    model = {
        "modelName": card.name,
        "modelVersion": f"{card.version}.0",
        "serializedFile": "model.onnx",
        "handler": HANDLER,
        "configFile": "model-config.yaml",
    }
    return json.dumps({"runtime": "python", "model": model, "archiverVersion": "0.12.0"}, indent=2)
