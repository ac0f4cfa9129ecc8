"""The images of the scoring benchmark: small, sound, all different, and made once."""

from pathlib import Path

from benchmarks.scoring.images import SIDE, make, name_of
from model_store.image import InputSpec, decode

COUNT = 1_002


def test_images_are_sound_and_all_different(tmp_path: Path) -> None:
    assert make(tmp_path, COUNT) == 0
    files = [tmp_path / name_of(number) for number in range(COUNT)]
    assert sorted(tmp_path.rglob("*.png")) == files
    spec = InputSpec(channels=1, height=SIDE, width=SIDE)
    assert len({decode(file.read_bytes(), spec).tobytes() for file in files}) == COUNT
    made = [file.stat().st_mtime_ns for file in files]
    make(tmp_path, COUNT)
    assert [file.stat().st_mtime_ns for file in files] == made
