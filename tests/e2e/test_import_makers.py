"""Models of many makers, imported, answer over HTTP as their own pipeline does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.processes import candor_here, wait_until
from tests.builders.servers import Server

pytestmark = pytest.mark.nightly

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"
FILES = sorted(path.stem for path in FOREIGN.glob("*.onnx"))
LIMIT = 1e-3  # of a probability


def expected(name: str) -> dict[str, Any]:
    return dict(json.loads((FOREIGN / "expected" / f"{name}.json").read_text()))


MODELS = [name for name in FILES if "refused" not in expected(name)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with every model of the folder, each imported by the command that a user types."""
    root = tmp_path_factory.mktemp("foreign")
    for name in MODELS:
        said = expected(name)
        names = ["--classes", ",".join(said["classes"])]
        command = [
            "import",
            str(FOREIGN / f"{name}.onnx"),
            "--promote",
            "--store",
            str(root / "models"),
            "--json",
        ]
        done = candor_here(*command, *names, *said["options"])
        assert done.exit_code == 0, (name, done.output, done.exception)
    running = Server(root / "models", root)
    wait_until(
        lambda: len(running.client.get("/models").json()["models"]) == len(MODELS),
        "all models are loaded",
    )
    yield running
    running.stop()


@pytest.mark.parametrize("name", sorted(set(FILES) - set(MODELS)))
def test_what_other_runtimes_lack_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    done = candor_here("import", FOREIGN / f"{name}.onnx", "--store", tmp_path)
    assert done.exit_code == 1
    assert expected(name)["refused"] in str(done.exception)


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_are_those_of_its_own_pipeline(server: Server, name: str) -> None:
    said = expected(name)
    for at, probabilities in enumerate(said["probabilities"]):
        image = (FOREIGN / "images" / f"{said['images']}_{at}.png").read_bytes()
        answer = server.client.post(f"/predictions/{name}", content=image)
        assert answer.status_code == 200, answer.text
        found = answer.json()["probabilities"]
        assert list(found) == said["classes"]
        assert (
            max(abs(found[each] - p) for each, p in zip(found, probabilities, strict=True)) < LIMIT
        )
