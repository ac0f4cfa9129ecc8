"""A folder scored into parts: every image once, also after kills, or a refusal."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model_store.bundle.bundle import Bundle
from model_store.store.store import Store
from serving.inference.predictor import Predictor
from serving.scoring.folder import AnyFolder, ScoringError
from serving.scoring.job import ScoringResult, in_this_process, score
from serving.settings import Settings
from tests.builders.bundles import encode, picture
from tests.builders.dicoms import dicom, dicom_stack
from tests.builders.object_store import object_store
from tests.builders.processes import candor_here

COUNT = 23


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number in range(COUNT):
        place = folder / f"site-{number % 2}" / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(picture(number), "PNG"))
    (folder / "site-0" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    # decoded in a process
    (folder / "site-1" / "wide.tif").write_bytes(encode(picture(99), "TIFF"))
    (folder / "notes.txt").write_text("no image")
    return folder


def run(images: Path, out: Path, bundle: Bundle, **options: int) -> ScoringResult:
    where = AnyFolder(str(images)), AnyFolder(str(out))
    settings = Settings(ledger="off", threads=1, max_batch=4)
    return score(
        *where, bundle, settings, engine=in_this_process, progress=lambda *_: None, **options
    )


def rows_of(out: Path) -> list[dict[str, object]]:
    tables = [pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def test_every_image_has_one_row_with_the_answer_that_it_gets_alone(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    bundle = tiny_store.read("tiny", 1)
    result = run(images, tmp_path / "out", bundle, part_size=5)
    assert (result.images, result.refused, result.parts, result.parts_before) == (
        COUNT + 1,
        1,
        5,
        0,
    )
    rows = rows_of(tmp_path / "out")
    assert [row["file"] for row in rows] == sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.*") if path.suffix != ".txt"
    )
    predictor = Predictor(bundle)
    for row in rows:
        if row["file"] == "site-0/002.png":
            assert row["error"]
            assert row["predicted"] is row["confidence"] is None
            continue
        alone = predictor.classify((images / str(row["file"])).read_bytes())
        assert (row["model"], row["version"], row["predicted"], row["error"]) == (
            "tiny",
            1,
            alone.predicted,
            None,
        )
        found = {name: row[f"probability {name}"] for name in alone.probabilities}
        assert found == pytest.approx(alone.probabilities, abs=1e-6)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["images"], manifest["refused"], len(manifest["parts"])) == (COUNT + 1, 1, 5)


KILLED = """
import os, pathlib, signal
from serving.scoring import job
read, out = job.PartScorer._content, pathlib.Path({out!r})

def killed(self, name):
    if len(list(out.glob("part-*"))) == {parts}:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, name)

job.PartScorer._content = killed
"""


def test_after_kills_the_same_command_continues(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    out = tmp_path / "out"
    words = ["predict", str(images), "--store", str(tiny_store.root), "--out", str(out)]
    words += ["--part-size", "2"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
    }

    def run(before: str) -> "subprocess.CompletedProcess[str]":
        program = f"{before}\nfrom candor.command_line import main; main()"
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    seen: dict[str, int] = {}
    for parts in (2, 4):
        killed = run(KILLED.format(out=str(out), parts=parts))
        assert killed.returncode == -signal.SIGKILL
        found = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
        assert len(found) == parts
        seen = found | seen
    (images / "late.png").write_bytes(encode(picture(1), "PNG"))  # is not in the plan
    done = run("")
    assert done.returncode == 1  # an image was refused
    assert "24 images in 12 parts, 4 of them from before; 1 refused" in " ".join(
        done.stdout.split()
    )
    names = [row["file"] for row in rows_of(out)]
    assert len(names) == len(set(names)) == COUNT + 1
    assert "late.png" not in names
    assert {name: (out / name).stat().st_mtime_ns for name in seen} == seen


def test_what_does_not_belong_together_is_refused(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    bundle, out = tiny_store.read("tiny", 1), tmp_path / "out"
    run(images, out, bundle, part_size=10)
    with pytest.raises(ScoringError):
        run(images / "site-0", out, bundle)
    (out / "part-000001.parquet").write_bytes((out / "part-000000.parquet").read_bytes()[:-9])
    with pytest.raises(ScoringError, match=r"part-000001\.parquet"):
        run(images, out, bundle)
    (out / "part-000001.parquet").unlink()
    result = run(images, out, bundle)
    assert (result.images, result.parts_before) == (COUNT + 1, 2)
    with pytest.raises(ScoringError):
        run(images, images, bundle)
    with pytest.raises(ScoringError):
        run(tmp_path / "nothing", tmp_path / "other", bundle)


def predict(images: Path, store: Store, out: Path, *options: str) -> tuple[int, str]:
    """The exit code of `candor predict --out`, and what it says."""
    command = ["predict", str(images), "--store", str(store.root), "--out", str(out), *options]
    done = candor_here(*command, env={"COLUMNS": "200"})
    return done.exit_code, f"{' '.join(done.output.split())} {done.exception}"


def test_what_makes_no_sense_is_a_usage_error(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    for options in (
        ("--engine", "spark"),
        ("--url", "http://127.0.0.1:1"),
        ("--frame", "all"),
        ("more",),
    ):
        assert predict(images, tiny_store, tmp_path / "out", *options)[0] == 2
    command = ["predict", str(images), "--store", str(tiny_store.root), "--engine", "ray"]
    assert candor_here(*command).exit_code == 2  # without --out


def test_a_repeat_keeps_its_parts_and_says_so_and_its_exit_code_counts_refusals(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    out = tmp_path / "out"
    again = partial(predict, images, tiny_store, out)
    assert again("--part-size", "5")[0] == 1  # an image was refused
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    code, output = again("--part-size", "7")
    assert (code, "5 images in a part" in output) == (1, True)
    assert again("--part-size", "5")[0] == again()[0] == 1
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")} == kept
    (images / "site-0" / "002.png").unlink()
    out = tmp_path / "sound"
    assert predict(images, tiny_store, out)[0] == 0
    assert json.loads((out / "manifest.json").read_text())["parts"] == [
        {"file": "part-000000.parquet", "images": COUNT, "refused": 0}
    ]


def test_a_frame_is_chosen_for_every_file(tmp_path: Path, tiny_store: Store) -> None:
    pixels = np.random.default_rng(3).integers(0, 4096, (5, 30, 20)).astype(np.uint16)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    (images / "loop.dcm").write_bytes(dicom_stack(pixels, **window))
    (images / "short.dcm").write_bytes(dicom_stack(pixels[:2], **window))
    (images / "still.png").write_bytes(encode(picture(1), "PNG"))

    assert predict(images, tiny_store, out, "--frame", "3")[0] == 1
    loop, short, still = rows_of(out)
    alone = Predictor(tiny_store.read("tiny", 1)).classify(dicom(pixels[2], **window))
    assert (loop["frame"], loop["predicted"]) == (3, alone.predicted)
    assert loop["confidence"] == pytest.approx(alone.confidence, abs=1e-6)
    assert "2 frames" in str(short["error"])
    assert "a single frame" in str(still["error"])
    assert "begun with --frame 3" in predict(images, tiny_store, out, "--frame", "2")[1]
    assert "begun with --frame 3" in predict(images, tiny_store, out)[1]
    out = tmp_path / "middle"
    assert predict(images, tiny_store, out, "--frame", "middle")[0] == 0
    assert [row["frame"] for row in rows_of(out)] == [3, 1, 1]
    assert json.loads((out / "manifest.json").read_text())["frame"] == "middle"


def test_a_bucket_is_scored_into_a_bucket(
    images: Path, tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    with object_store(bucket="scans") as bucket:
        for name, value in bucket.variables.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        file_system = s3fs.S3FileSystem()
        file_system.put(str(images), "scans/2026", recursive=True)
        where = AnyFolder("s3://scans/2026"), AnyFolder("s3://scans/answers")
        settings = Settings(ledger="off", threads=1)
        for before in (0, 3):
            result = score(
                *where,
                tiny_store.read("tiny", 1),
                settings,
                engine=in_this_process,
                progress=lambda *_: None,
                part_size=10,
            )
            assert (result.images, result.refused, result.parts, result.parts_before) == (
                COUNT + 1,
                1,
                3,
                before,
            )
        tables = [
            pq.read_table(f"scans/answers/part-{part:06}.parquet", filesystem=file_system)
            for part in range(3)
        ]
        assert sum(table.num_rows for table in tables) == COUNT + 1
