"""A folder scored into parts: every image once, also after kills, or a refusal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hosting.settings import Settings
from model_store.bundle.bundle import Bundle
from model_store.store.store import Store
from serving.inference.predictor import Predictor
from serving.scoring import job as job_module
from serving.scoring.folder import AnyFolder, ScoringError
from serving.scoring.job import ScoringJob, ScoringResult, in_this_process, score
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


@pytest.fixture
def parts_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "PART_SIZE", 5)


def run(images: Path | str, out: Path | str, bundle: Bundle) -> ScoringResult:
    settings = Settings(ledger="off", threads=1, max_batch=4)
    job = ScoringJob(AnyFolder(str(images)), AnyFolder(str(out)), bundle, settings)
    return score(job, engine=in_this_process, progress=lambda *_: None)


def rows_of(out: Path) -> list[dict[str, object]]:
    """Rows in the order of their files' names."""
    rows = [row for part in out.glob("part-*.parquet") for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: str(row["file"]))


@pytest.mark.usefixtures("parts_of_five")
def test_every_image_has_one_row_with_the_answer_that_it_gets_alone(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    bundle = tiny_store.read("tiny", 1)
    result = run(images, tmp_path / "out", bundle)
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


KILLED = """
import os, pathlib, signal
from serving.scoring import job
job.PART_SIZE = 2
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
    (images / "late.png").write_bytes(encode(picture(1), "PNG"))
    done = run("")
    assert done.returncode == 1  # an image was refused
    assert "25 images in 5 files, 4 of them from before; 1 refused" in " ".join(done.stdout.split())
    names = [row["file"] for row in rows_of(out)]
    assert len(names) == len(set(names)) == COUNT + 2
    assert {name: (out / name).stat().st_mtime_ns for name in seen} == seen


@pytest.mark.usefixtures("parts_of_five")
def test_what_does_not_belong_together_is_refused(
    images: Path, tmp_path: Path, tiny_store: Store
) -> None:
    bundle, out = tiny_store.read("tiny", 1), tmp_path / "out"
    run(images, out, bundle)
    with pytest.raises(ScoringError, match="another command"):
        run(images / "site-0", out, bundle)
    first, second, *_ = sorted(out.glob("part-*"))
    second.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(ScoringError, match=f"{second.name} is damaged"):
        run(images, out, bundle)
    second.unlink()
    result = run(images, out, bundle)
    assert (result.images, result.parts_before) == (COUNT + 1, 4)
    with pytest.raises(ScoringError, match="no scoring wrote"):
        run(images, images, bundle)
    with pytest.raises(ScoringError, match="no images"):
        run(tmp_path / "nothing", tmp_path / "other", bundle)


def predict(images: Path, store: Store, out: Path, *options: str) -> tuple[int, str]:
    """The exit code of `candor predict --out`, and what it says."""
    command = ["predict", str(images), "--store", str(store.root), "--out", str(out), *options]
    done = candor_here(*command, env={"COLUMNS": "200"})
    return done.exit_code, f"{' '.join(done.output.split())} {done.exception}"


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
    assert "another command (frame 3)" in predict(images, tiny_store, out, "--frame", "2")[1]
    assert "another command (frame 3)" in predict(images, tiny_store, out)[1]
    out = tmp_path / "middle"
    assert predict(images, tiny_store, out, "--frame", "middle")[0] == 0
    assert [row["frame"] for row in rows_of(out)] == [3, 1, 1]


@pytest.mark.usefixtures("parts_of_five")
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
        for before in (0, 5):
            result = run("s3://scans/2026", "s3://scans/answers", tiny_store.read("tiny", 1))
            found = (result.images, result.refused, result.parts, result.parts_before)
            assert found == (COUNT + 1, 1, 5, before)
        files = file_system.ls("scans/answers")
        tables = [pq.read_table(file, filesystem=file_system) for file in files]
        assert sum(table.num_rows for table in tables) == COUNT + 1
