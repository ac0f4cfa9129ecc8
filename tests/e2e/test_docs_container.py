"""The commands of docs/how-to/container.md, run by podman on images built before."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from candor.demo.sample import SampleImages
from tests.builders.bundles import color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.containers import TOOLS, Docker, docker, image_of, needs

pytestmark = [
    pytest.mark.nightly,
    needs("serving"),
    pytest.mark.programs(*TOOLS),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

PAGE = (Path(__file__).parents[2] / "docs/how-to/container.md").read_text()


def commands(section: str) -> list[str]:
    """The commands of a section, in their order."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker]:
    with docker(
        {"candor": image_of("serving")}
    ) as found:  # the others have the names that the page gives them
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)  # it is mounted
    (tmp_path / "scan.png").write_bytes(SampleImages(seed=5).draw(shifted=False)[0])
    return tmp_path


def test_a_stranger_gets_from_nothing_to_an_alarm(engine: Docker, folder: Path) -> None:
    lines = commands("First steps")
    assert len(lines) == 10
    done = engine.bash("\n".join(lines), where=folder)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"no model is loaded."' in done.stdout
    assert "/readyz: ready" in done.stdout
    assert "ALARM" in done.stderr  # with the progress of `candor traffic`
    assert '"prediction_id"' in done.stdout
    left = engine.bash("docker ps --all --quiet; docker volume ls --quiet", where=folder)
    assert left.stdout == "", "it leaves something behind"


def test_a_foreign_model_comes_into_the_volume(engine: Docker, folder: Path) -> None:
    foreign_onnx(
        folder / "classifier.onnx", linear("Softmax"), constants={"weights": color_weights()}
    )
    labeled_folder(folder / "labeled", images=40)
    (imported,) = commands("A model of yours")
    (doctor,) = [line for line in commands("Serve") if line.endswith(" doctor")]
    assert "candor-models:/models:ro" in doctor
    done = engine.bash(f"{imported}\n{doctor} || true", where=folder)
    assert re.search(
        r"^ok +store: /models has 1 model and can only be read", done.stdout, re.MULTILINE
    ), f"{done.stdout}\n{done.stderr}"


@needs("training", "torchserve")
def test_a_model_is_trained_and_torchserve_answers_with_it(engine: Docker, folder: Path) -> None:
    lines = [
        line for line in commands("Train") + commands("TorchServe") if "docker build" not in line
    ]
    script = ["trap 'docker rm -f torchserve' EXIT", *lines]
    done = engine.bash("\n".join(script), where=folder)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"prediction_id"' in done.stdout
