"""Triton's own clients, unchanged, against a real server over HTTP and gRPC.

Each client runs in a process of its own, as its generated messages and those of the server would
meet in one.
"""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from tests.builders.bundles import png
from tests.builders.processes import PATIENCE_S
from tests.builders.servers import Start

CLIENT = """
import importlib, json, sys
import numpy as np
transport, address, image, shape = sys.argv[1], sys.argv[2], open(sys.argv[3], "rb").read(), json.loads(sys.argv[4])
triton = importlib.import_module("tritonclient." + transport)
client = triton.InferenceServerClient(address)
from tritonclient.utils import InferenceServerException
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
assert not client.is_model_ready("unknown") if transport == "http" else True
metadata = client.get_model_metadata("tiny", **({} if transport == "http" else {"as_json": True}))
encoded = triton.InferInput("image", [1], "BYTES")
encoded.set_data_from_numpy(np.array([image], np.object_))
first = client.infer("tiny", [encoded], request_id="triton", headers={"x-candor-tags": "site=A"})
pixels = triton.InferInput("image", [2, *shape], "UINT8")
pixels.set_data_from_numpy(np.zeros((2, *shape), np.uint8))
wanted = [triton.InferRequestedOutput(name) for name in ("probabilities", "predicted")]
second = client.infer("tiny", [pixels], model_version="1", outputs=wanted)
refused = []
for bad in (b"no image", b""):
    encoded.set_data_from_numpy(np.array([bad], np.object_))
    try:
        client.infer("tiny", [encoded])
    except InferenceServerException as error:
        refused.append([error.status(), error.message()])
print(json.dumps({
    "name": metadata["name"],
    "probabilities": first.as_numpy("probabilities").tolist(),
    "predicted": first.as_numpy("predicted").tolist()[0].decode(),
    "prediction_id": first.as_numpy("prediction_id").tolist()[0].decode(),
    "batch": list(second.as_numpy("probabilities").shape),
    "unasked": second.as_numpy("confidence") is None,
    "refused": refused,
}))
"""


def test_tritons_clients_run_unchanged(start: Start, tiny_store: Store, tmp_path: Path) -> None:
    server = start(tiny_store, grpc_port="0")
    (tmp_path / "image.png").write_bytes(png())
    spec = tiny_store.read("tiny", 1).card.input
    shape = json.dumps([spec.channels, spec.height, spec.width])
    found = {}
    addresses = {"http": f"127.0.0.1:{server.port}", "grpc": server.grpc_address()}
    for transport, address in addresses.items():
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, transport, address, str(tmp_path / "image.png"), shape],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        found[transport] = json.loads(done.stdout)
    for transport, answer in found.items():
        assert answer["name"] == "tiny"
        assert answer["batch"] == [2, 3]
        assert answer["unasked"], transport
        assert len(answer["prediction_id"]) == 36
        (status, said), (_, empty) = answer["refused"]
        assert status == {"http": "415", "grpc": "StatusCode.INVALID_ARGUMENT"}[transport]
        assert "not an image" in said
        assert "empty" in empty
    assert found["http"]["probabilities"] == found["grpc"]["probabilities"]
    assert found["http"]["predicted"] == found["grpc"]["predicted"]
    with (
        Ledger(f"sqlite:///{server.log_file.with_name('ledger.db')}") as ledger,
        ledger.read() as connection,
    ):
        tagged = connection.execute(
            text("select request_id, tags from prediction where tags is not null")
        ).all()
    assert [tuple(row) for row in tagged] == [("triton", '{"site": "A"}')] * 2
