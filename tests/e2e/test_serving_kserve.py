"""KServe's own client, unchanged, against a real server over REST.

Its package pins what ours does not, so it lives in an environment of its own.
"""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from model_store.store.store import Store
from tests.builders.processes import PATIENCE_S, own_environment
from tests.builders.servers import Start

pytestmark = pytest.mark.nightly
KSERVE = "kserve>=0.15"

CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, shape = sys.argv[1], json.loads(sys.argv[2])
pixels = InferInput("image", shape, "UINT8")
pixels.set_data_from_numpy(np.full(shape, 100, np.uint8), binary_data=True)
request = InferRequest(model_name="tiny", infer_inputs=[pixels], request_id="kserve")

async def ask(client, *place):
    assert await client.is_server_live(*place) and await client.is_server_ready(*place)
    assert await client.is_model_ready(*place, model_name="tiny")
    asked = {"data": request, "model_name": "tiny"}
    answer = await client.infer(*place, **asked)
    found = {output.name: output.as_numpy() for output in answer.outputs}
    return [round(float(value), 6) for value in found["probabilities"].ravel()]

async def main():
    rest = await ask(InferenceRESTClient(config=RESTConfig(protocol="v2")), url)
    print(json.dumps(rest))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python that has KServe's client."""
    return own_environment("kserve", KSERVE) / "python"


def test_kserves_client_runs_unchanged(python: Path, start: Start, tiny_store: Store) -> None:
    url = start(tiny_store).url
    spec = tiny_store.read("tiny", 1).card.input
    shape = [1, spec.channels, spec.height, spec.width]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", CLIENT, url, json.dumps(shape)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    size = shape[1] * shape[2] * shape[3]
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}).encode()
    ours = httpx.post(
        f"{url}/v2/models/tiny/infer",
        content=head + bytes([100]) * size,
        headers={"Inference-Header-Content-Length": str(len(head))},
    ).json()
    expected = next(each for each in ours["outputs"] if each["name"] == "probabilities")["data"]
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-5)
