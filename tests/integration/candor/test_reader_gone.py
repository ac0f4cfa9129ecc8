"""A reader of the output that goes away, such as `| head`, takes no file with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import color_weights, foreign_onnx, labeled_folder, linear, png
from tests.builders.monitored import record_unsure_answers


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (
            "calibrate rows.csv --out out",
            "out/report.html out/report.json out/calibrator.json out/calibrator.onnx",
        ),
        ("calibrate rows.csv --json --out out", "out/report.json out/calibrator.json"),
        ("predict images --model tiny --csv answers.csv", "answers.csv"),
        ("predict images --model tiny --out scored", "scored/part-*.parquet"),
        ("report --ledger sqlite:///ledger.db --html report.html", "report.html"),
        ("ledger export answers.csv --ledger sqlite:///ledger.db", "answers.csv"),
        ("ledger backup copy.db --ledger sqlite:///ledger.db", "copy.db"),
        ("import model.onnx --pixels unit --data labeled --name new", "store/new/1/card.json"),
        ("train digits --epochs 1 --out run", "run/config.json run/metrics.json"),
    ],
)
def test_files_are_whole(tmp_path: Path, tiny_store: Store, command: str, files: str) -> None:
    rows = (f"{p},{1 - p:.2f},{'ab'[n % 10 < 3]}" for n in range(400) for p in (0.9 - n % 7 / 100,))
    (tmp_path / "rows.csv").write_text("\n".join(["p_a,p_b,label", *rows]))
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.png").write_bytes(png(number))
    record_unsure_answers(f"sqlite:///{tmp_path}/ledger.db", tiny_store.read("tiny").card)
    foreign_onnx(tmp_path / "model.onnx", linear("Softmax"), constants={"weights": color_weights()})
    labeled_folder(tmp_path / "labeled", images=40)
    reading, writing = os.pipe()
    os.close(reading)
    subprocess.run(
        [sys.executable, "-m", "candor", *command.split()],
        cwd=tmp_path,
        stdout=writing,
        stderr=writing,  # as of `2>&1 | head`: notes come before the files
        env=os.environ | {"CANDOR_STORE": str(tiny_store.root)},
        check=False,
    )
    os.close(writing)
    for file in files.split():
        [found] = tmp_path.glob(file)
        assert found.stat().st_size > 100, file
