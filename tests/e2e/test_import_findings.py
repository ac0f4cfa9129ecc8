"""A DenseNet-121 of 14 findings, made and exported by torch, answers over HTTP as torch does."""

import json
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.builders.bundles import encode, picture
from tests.builders.processes import candor_here, wait_until
from tests.builders.servers import Server

pytestmark = pytest.mark.nightly

NAMES = tuple(f"finding {at}" for at in range(14))
OUTPUTS = [f"output_{at}" for at in range(14)]
SIDE, LIMIT = 224, 1e-5
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Heads(nn.Module):
    """The same scores as one output for each finding."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return torch.sigmoid(self.network(image)).split(1, dim=1)


def densenet() -> nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.densenet121(num_classes=len(NAMES)).eval()
    with torch.no_grad():
        network.classifier.weight *= 3
    return network


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the network as logits, with its sigmoid, and with an output for each."""
    root, network = tmp_path_factory.mktemp("densenet"), densenet()
    images = torch.rand(1, 3, SIDE, SIDE)
    makers = {
        "logits": network,
        "sigmoids": nn.Sequential(network, nn.Sigmoid()),
        "heads": Heads(network),
    }
    for name, module in makers.items():
        path = root / f"{name}.onnx"
        axes = {"image": {0: "batch"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # most files come from the older exporter
            torch.onnx.export(
                module.eval(),
                (images,),
                str(path),
                input_names=["image"],
                output_names=OUTPUTS if name == "heads" else None,
                dynamic_axes=axes,
                dynamo=False,
            )
    torch.save(network.state_dict(), root / "weights.bin")
    said = [
        "--classes",
        ",".join(NAMES),
        "--scores",
        "sigmoid",
        "--promote",
        "--store",
        str(root / "models"),
        "--json",
    ]
    pixels = ["--pixels", "imagenet", "--channels", "rgb"]
    for file in (*(f"{name}.onnx" for name in makers), "weights.bin"):
        options = ["--architecture", "torchvision/densenet121", "--resize", "224x224"]
        heads = ["--output", ",".join(OUTPUTS)] if file == "heads.onnx" else []
        command = ["import", str(root / file), *said, *heads]
        done = candor_here(*(command + (pixels if "onnx" in file else options)))
        assert done.exit_code == 0, (file, done.output, done.exception)
        assert json.loads(done.stdout)["max_difference"] < LIMIT
    running = Server(root / "models", root)
    wait_until(
        lambda: len(running.client.get("/models").json()["models"]) == len(makers) + 1,
        "all models are loaded",
    )
    yield running
    running.stop()


@pytest.mark.parametrize("name", ["logits", "sigmoids", "heads", "weights"])
def test_fourteen_findings_are_equal_over_http(server: Server, name: str) -> None:
    network = densenet()
    for seed in range(3):
        image = picture(seed, (SIDE, SIDE))
        answer = server.client.post(f"/predictions/{name}", content=encode(image, "PNG"))
        assert answer.status_code == 200, answer.text
        found = answer.json()["findings"]
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            expected = torch.sigmoid(network((pixels - MEAN) / STD))[0].numpy()
        said = np.array([found[each]["probability"] for each in NAMES])
        assert np.abs(said - expected).max() < LIMIT
        assert expected.std() > 0.05
        assert all(found[each]["threshold"] == 0.5 for each in NAMES)
