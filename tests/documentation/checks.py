"""What is there after the commands of a page, as its text says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from model_store.store import Store
from tests.documentation.commands import ROOT

TUTORIALS: Final = ROOT / "docs" / "tutorials"


def imported(folder: Path, _printed: str) -> None:
    """README.md: a calibrator, and a foreign model in production."""
    assert (folder / "calibrated/calibrator.json").is_file()
    assert _store(folder).production("chest") == 1


def filed(folder: Path, _printed: str) -> None:
    """The report of a quality manager."""
    assert "<html" in (folder / "report.html").read_text()


def exported(folder: Path, _printed: str) -> None:
    """Repositories of Triton and KServe."""
    assert (folder / "repo/chest/config.pbtxt").is_file()
    assert list((folder / "kserve").rglob("*.yaml"))


def trained(folder: Path, _printed: str) -> None:
    """A run was published and promoted."""
    assert _store(folder).production("chest") == 1


def second_is_in_production(folder: Path, _printed: str) -> None:
    """The canary was promoted."""
    assert _store(folder).production("chest") == 2


def third_is_gone(folder: Path, _printed: str) -> None:
    """What was retired was removed, and nothing else."""
    assert _store(folder).versions("chest") == [1, 2, 4, 5, 6]


def tokens_are_made(folder: Path, _printed: str) -> None:
    """Three tokens, each with its scopes."""
    lines = [line.split() for line in (folder / "tokens").read_text().splitlines()]
    names = [("predict,feedback", "gateway"), ("read", "prometheus"), ("admin", "dr-weber")]
    assert [(scopes, name) for _, scopes, name in lines] == names
    assert (folder / "tokens").stat().st_mode & 0o077 == 0


def calibrated(folder: Path, _printed: str) -> None:
    """The tutorial on predictions, and the page about the calibrator's file."""
    found = json.loads((folder / "calibrated/report.json").read_text())
    assert (found["standing"], found["groups"], found["calibrator"]["method"]) == (
        "overconfident",
        400,
        "temperature",
    )
    flat = " ".join((TUTORIALS / "calibrate-predictions.md").read_text().split())
    for sentence in (found["verdict"], found["calibrator_sentence"]):
        assert sentence in flat, "the page prints what the command says"


def loop_is_closed(folder: Path, printed: str) -> None:
    """An alarm on the other camera, and a second version that is better there."""
    drifted, elsewhere, later = (
        _report(folder, "digits", *chosen)
        for chosen in (
            ("--version", "1"),
            ("--version", "1", "--window", "last:359"),
            ("--version", "2"),
        )
    )
    assert (drifted["drift"]["active"], drifted["drift"]["direction"]) == (True, "over")
    assert drifted["drift"]["alarm_label"] > 359, (
        "no alarm on the images of the place that the model was made for"
    )
    assert later["measures"]["ece"] < elsewhere["measures"]["ece"]
    assert "recalibrate digits" in printed
    assert _store(folder).production("digits") == 1


def digits_are_imported(folder: Path, printed: str) -> None:
    """A foreign model came in and is watched."""
    assert "a fixed batch of 1; served in batches" in printed
    assert "its last operator is cut off" in printed
    assert "  preprocessing mnist (0 to 1, minus 0.1307, divided by 0.3081)" in printed
    card = json.loads((folder / "model_store/models/digits/1/card.json").read_text())
    assert card["calibration"]["temperature"] != 1
    assert card["calibration"]["measures"]["n"] == 399  # the halves are rounded by class
    assert card["calibration"]["measures"]["accuracy"] > 0.85
    found = _report(folder, "digits")
    assert found["measures"]["n"] == 597
    assert found["drift"]["labels"] == 597


def alarm_was_acknowledged(folder: Path, _printed: str) -> None:
    """The alarm of another server's model came near the fault."""
    found = _report(folder, "retina")
    (alarm,) = (event["detail"] for event in found["history"] if event["kind"] == "alarm")
    assert alarm["direction"] == "over"
    assert alarm["since"]["lower"] <= 1_500 <= alarm["since"]["upper"]
    assert not found["drift"]["active"], "it was acknowledged"
    assert "All these labels came before the alarm was acknowledged on" in found["verdict"]


def calibrator_prints(_folder: Path, printed: str) -> None:
    """The program of the page printed what its comment says."""
    assert printed == "[[0.25 0.75]]\n"


def _store(folder: Path) -> Store:
    return Store(folder / "model_store/models")


def _report(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "candor", "report", *arguments, "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
