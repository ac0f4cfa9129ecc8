"""Triton's own client, unchanged, against a real server."""

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
import json, sys
import numpy as np
import tritonclient.http as triton
address, image, shape = sys.argv[1], open(sys.argv[2], "rb").read(), json.loads(sys.argv[3])
client = triton.InferenceServerClient(address)
from tritonclient.utils import InferenceServerException
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
assert not client.is_model_ready("unknown")
metadata = client.get_model_metadata("tiny")
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


def test_tritons_client_runs_unchanged(start: Start, tiny_store: Store, tmp_path: Path) -> None:
    server = start(tiny_store)
    (tmp_path / "image.png").write_bytes(png())
    spec = tiny_store.read("tiny", 1).card.input
    shape = json.dumps([spec.channels, spec.height, spec.width])
    address = f"127.0.0.1:{server.port}"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, address, str(tmp_path / "image.png"), shape],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["name"] == "tiny"
    assert answer["batch"] == [2, 3]
    assert answer["unasked"]
    assert len(answer["prediction_id"]) == 36
    (status, said), (_, empty) = answer["refused"]
    assert status == "415"
    assert "not an image" in said
    assert "empty" in empty
    with (
        Ledger(f"sqlite:///{server.log_file.with_name('ledger.db')}") as ledger,
        ledger.read() as connection,
    ):
        tagged = connection.execute(
            text("select request_id, tags from prediction where tags is not null")
        ).all()
    assert [tuple(row) for row in tagged] == [("triton", '{"site": "A"}')]
