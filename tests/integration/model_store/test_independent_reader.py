"""A reader that follows docs/bundle.md, without Candor's code, gets the server's answers."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from calibration.conformal import conformal
from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibration_card import ConformalCard
from model_store.store.store import Store
from tests.builders.bundles import (
    build_card,
    build_onnx,
    encode,
    picture,
    subgroup,
    with_subgroups,
)
from tests.builders.findings import publish_findings
from tests.builders.services import running

READER = Path(__file__).parents[2] / "builders" / "independent_reader.py"
PAGE = Path(__file__).parents[3] / "docs" / "bundle.md"
pytestmark = pytest.mark.anyio


def deep(value: int, *, mode: str = "PNG", **options: Any) -> bytes:
    """A 16-bit gray image."""
    pixels = (np.arange(40 * 30).reshape(30, 40) * 53 + value).astype(np.uint16)
    return encode(Image.fromarray(pixels), mode, **options)


def turned() -> bytes:
    image, exif = picture(3, size=(41, 23)), Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def white_is_zero() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    return deep(7, mode="TIFF", tiffinfo=tags)


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(picture(1, size=(50, 37)), "JPEG"),
    "png": lambda: encode(picture(2), "PNG"),
    "gray": lambda: encode(picture(4, mode="L"), "PNG"),
    "transparent": lambda: encode(picture(5, mode="RGBA"), "PNG"),
    "gray and transparent": lambda: encode(picture(6, mode="LA"), "PNG"),
    "palette": lambda: encode(picture(7).quantize(16), "PNG", transparency=3),
    "one bit": lambda: encode(picture(8, mode="1"), "PNG"),
    "16 bits": lambda: deep(3),
    "white is zero": white_is_zero,
    "turned": turned,
    "webp": lambda: encode(picture(9), "WEBP"),
    "bmp": lambda: encode(picture(10), "BMP"),
    "small": lambda: encode(picture(11, size=(3, 5)), "PNG"),
    "of the size": lambda: encode(picture(12, size=(8, 8)), "PNG"),
}


def publish(root: Path, *, channels: int, resize: str) -> Store:
    """A model in production that promises prediction sets too."""
    store = Store(root)
    card = build_card(channels=channels, resize=resize, height=9, width=7)
    sets = conformal([[0.7, 0.2, 0.1]] * 40, [0] * 36 + [1] * 4, alpha=0.1)
    card = card.model_copy(update={"conformal": ConformalCard.from_sets(sets)})
    onnx = build_onnx(channels=channels, height=9, width=7)
    store.publish("tiny", lambda folder, version: write_bundle(folder, card=card, onnx=onnx))
    store.promote("tiny", 1)
    return store


def read(folder: Path, images: list[Path], tags: str = "{}") -> list[dict[str, Any]]:
    """What the reader answers, in a process that cannot find Candor."""
    done = run_reader(folder, tags, *images)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def run_reader(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    command = [sys.executable, READER, folder, *arguments]
    return subprocess.run(
        list(map(str, command)),
        env=environment,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_has_the_sections_that_the_reader_follows() -> None:
    sections = re.findall(r"^## (\d\. .*)$", PAGE.read_text(), re.MULTILINE)
    followed = re.findall(r"# (\d\. .*)$", READER.read_text(), re.MULTILINE)
    assert followed == sections


@pytest.mark.parametrize(("channels", "resize"), [(3, "stretch"), (1, "crop"), (3, "crop")])
async def test_its_answers_are_the_servers(tmp_path: Path, channels: int, resize: str) -> None:
    store = publish(tmp_path / "models", channels=channels, resize=resize)
    files = []
    for number, make in enumerate(IMAGES.values()):
        files.append(tmp_path / f"{number}.img")
        files[-1].write_bytes(make())
    answers = read(store.folder("tiny", 1), files)
    async with running(store, tmp_path, ledger="off") as server:
        for kind, file, answer in zip(IMAGES, files, answers, strict=True):
            served = (await server.predict(file.read_bytes())).json()
            assert served["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-6), kind
            assert served["confidence"] == pytest.approx(answer["confidence"], abs=1e-6), kind
            for field in ("predicted", "refer", "prediction_set"):
                assert served[field] == answer[field], (kind, field)


@pytest.mark.parametrize("site", ["A", "B"])
async def test_tags_choose_a_calibrator(tmp_path: Path, site: str) -> None:
    store = Store(tmp_path / "models")
    entry = subgroup(("B",), temperature=3.0, class_bias=(-1.0, 0.5, 0.5))
    store.publish("tiny", lambda folder, version: with_subgroups(folder, entry, version=version))
    store.promote("tiny", 1)
    file = tmp_path / "image.png"
    file.write_bytes(encode(picture(1), "PNG"))
    (answer,) = read(store.folder("tiny", 1), [file], tags=json.dumps({"site": site}))
    async with running(store, tmp_path, ledger="off") as server:
        served = (await server.predict(file.read_bytes(), x_candor_tags=f"site={site}")).json()
    assert served["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-6)
    assert (served["predicted"], served["refer"]) == (answer["predicted"], answer["refer"])
    assert served.get("calibrator") == ("site=B" if site == "B" else None)


@pytest.mark.parametrize("site", ["A", "B"])
async def test_findings_are_read_one_by_one(tmp_path: Path, site: str) -> None:
    of_b = subgroup(("B",), temperature=3.0, class_bias=(0.0, 0.5))
    store = publish_findings(
        tmp_path / "models", thresholds=(0.2, 0.5, 0.7), sets=True, subgroups={"Mass": of_b}
    )
    files = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, file in enumerate(files):
        file.write_bytes(encode(picture(seed), "PNG"))
    answers = read(store.folder("chest", 1), files, tags=json.dumps({"site": site}))
    async with running(store, tmp_path, ledger="off") as server:
        for file, answer in zip(files, answers, strict=True):
            asked = file.read_bytes(), "/predictions/chest"
            served = (await server.predict(*asked, x_candor_tags=f"site={site}")).json()
            for name, found in answer["findings"].items():
                given = served["findings"][name]
                assert given["probability"] == pytest.approx(found.pop("probability"), abs=1e-6)
                assert {field: given[field] for field in found} == found, name


def _flip(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-5] ^= 1
    (folder / "model.onnx").write_bytes(data)


def _stray(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"x")


def _respell(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))


@pytest.mark.parametrize(
    ("change", "said"),
    [(_flip, "model.onnx differs"), (_stray, "weights.bin"), (_respell, "spelled in another way")],
)
def test_what_the_page_refuses_is_refused(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    store = publish(tmp_path / "models", channels=1, resize="stretch")
    change(store.folder("tiny", 1))
    done = run_reader(store.folder("tiny", 1), "{}")
    assert done.returncode == 1
    assert said in done.stderr
