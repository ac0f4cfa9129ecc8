"""`candor predict --engine ray`: after kills every image has one row."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store.store import Store
from tests.builders.bundles import encode, picture
from tests.builders.processes import environment, wait_until
from tests.builders.ray_cluster import RayNodes

pytestmark = pytest.mark.nightly
IMAGES, PART = 3_000, 50
SCORE = (
    f"from serving.scoring import job; job.PART_SIZE = {PART}; "
    "from candor.command_line import main; main()"
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    different = [encode(picture(number, size=(256, 256)), "PNG") for number in range(20)]
    for number in range(IMAGES):
        (folder / f"{number:05}.png").write_bytes(
            different[number % 20] if number % 1_000 else b"no image"
        )
    return folder


def test_every_image_has_one_row_after_kills(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCORE, "predict", str(images), "--engine", "ray", "--json"]
    command += ["--store", str(tiny_store.root), "--out", str(out)]
    with RayNodes(1, 1, 1) as nodes:
        variables = {"RAY_ADDRESS": nodes.address}

        def parts() -> int:
            return len(list(out.glob("part-*")))

        process = subprocess.Popen(
            command,
            env=environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: parts() > 4 or process.poll() is not None, "the first parts")
        nodes.kill()
        wait_until(
            lambda: parts() > 12 or process.poll() is not None, "parts after a node was lost"
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = parts()
        assert 12 < before < IMAGES // PART
        kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
        done = subprocess.run(
            command, env=environment() | variables, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1, done.stderr[-3000:]  # images were refused
    result = json.loads(done.stdout[done.stdout.index("{") :])
    # Actors of the killed command may finish their parts while the next one starts.
    assert result["parts_before"] >= before
    assert (result["images"], result["refused"], result["parts"]) == (IMAGES, 3, IMAGES // PART)
    assert sorted(pq.read_table(out)["file"].to_pylist()) == [
        f"{number:05}.png" for number in range(IMAGES)
    ]
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
