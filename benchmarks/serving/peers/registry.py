"""The peers by name. Each server follows the peer's documentation, and leaves errors of a bad image
to the peer, as the documentation does. All have one inference worker with one session, with one
thread per core. Batches have at most 16 images.
"""

import json
import subprocess
from typing import Final

from benchmarks.serving.peers.peer import SERVERS, Peer, Scene, instances, multipart, script

MAX_BATCH: Final = 16
WAIT_MS: Final = 10  # mosec's default, and what most examples say
MOSEC: Final = ("mosec>=0.9,<0.10",)


def _torchserve(scene: Scene) -> None:
    (scene.folder / "store").mkdir()
    archive = [
        str(scene.programs / "torch-model-archiver"),
        "--model-name",
        "model",
        "--version",
        "1.0",
    ]
    archive += [
        "--handler",
        str(SERVERS / "torchserve_handler.py"),
        "--export-path",
        str(scene.folder / "store"),
    ]
    subprocess.run(archive, check=True, capture_output=True, env=scene.environment())
    worker = {"minWorkers": 1, "maxWorkers": 1, "batchSize": MAX_BATCH, "maxBatchDelay": WAIT_MS}
    models = {
        "model": {
            "1.0": worker | {"defaultVersion": True, "marName": "model.mar", "responseTimeout": 120}
        }
    }
    lines = {
        "inference_address": f"http://127.0.0.1:{scene.ports[0]}",
        "management_address": f"http://127.0.0.1:{scene.ports[1]}",
        "metrics_address": f"http://127.0.0.1:{scene.ports[2]}",
        "grpc_inference_port": scene.ports[3],
        "grpc_management_port": scene.ports[4],
        "disable_token_authorization": "true",
        "max_request_size": str(64 * 2**20),  # a DICOM file is larger than the default
        "models": json.dumps(models),
        "load_models": "model.mar",
    }
    (scene.folder / "config.properties").write_text(
        "\n".join(f"{name}={value}" for name, value in lines.items())
    )


def _torchserve_command(scene: Scene) -> list[str]:
    files = [
        "--ts-config",
        str(scene.folder / "config.properties"),
        "--model-store",
        str(scene.folder / "store"),
    ]
    return [str(scene.programs / "torchserve"), "--start", "--foreground", "--ncs", *files]


def _mosec_command(scene: Scene) -> list[str]:
    return [
        *script("mosec_server.py")(scene),
        "--address",
        "127.0.0.1",
        "--port",
        str(scene.ports[0]),
    ]


def _bentoml_command(scene: Scene) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(scene.ports[0])]
    return [str(scene.programs / "bentoml"), "serve", "bentoml_server:Classifier", *where]


PEERS: Final[dict[str, Peer]] = {
    "mosec": Peer("mosec", MOSEC, "/inference", _mosec_command),
    "torchserve": Peer(
        "TorchServe",
        (
            "torchserve>=0.12,<0.13",
            "torch-model-archiver>=0.12,<0.13",
            "torch>=2.6,<3",
            "pyyaml>=6",
            "setuptools<80",
        ),
        "/predictions/model",
        _torchserve_command,
        prepare=_torchserve,
        variables={"TS_DISABLE_SYSTEM_METRICS": "true"},
    ),
    "litserve": Peer(
        "LitServe",
        ("litserve>=0.2,<0.3", "python-multipart"),
        "/predict",
        script("litserve_server.py"),
        body=multipart("request"),
    ),
    "bentoml": Peer(
        "BentoML", ("bentoml>=1.4,<1.5",), "/predict", _bentoml_command, body=multipart("image")
    ),
    "kserve": Peer(
        "KServe SDK",
        ("kserve>=0.15",),
        "/v1/models/model:predict",
        lambda scene: [
            *script("kserve_server.py")(scene),
            *("--http_port", str(scene.ports[0]), "--grpc_port", str(scene.ports[1])),
        ],
        body=instances,
        batches=False,
    ),
    "fastapi-threads": Peer(
        "FastAPI + batcher, decoding in threads",
        ("fastapi>=0.115", "uvicorn[standard]>=0.32"),
        "/predict",
        script("fastapi_threads.py"),
    ),
}
