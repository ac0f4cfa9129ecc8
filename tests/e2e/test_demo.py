"""`candor demo` as a stranger runs it offline, on digits: every step happens, and its figures are
consistent.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The figures, the text, and the folder of `candor demo --data digits --once`."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "candor", "demo", "--data", "digits", "--once"]
    command += ["--out", folder / "out", "--json", folder / "figures.json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    done = subprocess.run(
        command,
        env=environment | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "figures.json").read_text()), done.stdout, folder / "out"


def test_all_seven_steps_are_printed(demo: tuple[dict[str, Any], str, Path]) -> None:
    _, text, _ = demo
    for step in (
        "1. Train",
        "2. Export",
        "3. Serve",
        "4. Label",
        "5. Drift",
        "6. Recalibrate",
        "7. Verify",
    ):
        assert step in text


def test_the_monitor_agrees_with_the_card_and_raises_no_alarm(
    demo: tuple[dict[str, Any], str, Path],
) -> None:
    figures, _, _ = demo
    card, report = figures["label"]["card"], figures["label"]["report"]
    assert report["measures"]["n"] == card["n"]
    assert report["measures"]["ece"] == pytest.approx(card["ece"], abs=1e-3)
    assert not report["drift"]["active"]


def test_the_alarm_is_raised_on_the_corrupted_split(demo: tuple[dict[str, Any], str, Path]) -> None:
    figures, _, _ = demo
    drift = figures["drift"]
    assert 0 < drift["alarm_after_labels"] < drift["report"]["measures"]["n"]
    assert drift["report"]["drift"]["direction"] == "over"


def test_no_request_is_lost_while_versions_change(demo: tuple[dict[str, Any], str, Path]) -> None:
    figures, _, _ = demo
    recalibrated = figures["recalibrate"]
    assert recalibrated["failed_requests"] == 0
    assert min(recalibrated["requests_by_version"].values()) > 0
    assert set(recalibrated["requests_by_version"]) == {"1", "2"}


def test_the_recalibration_rests_on_every_answer_of_its_time(
    demo: tuple[dict[str, Any], str, Path],
) -> None:
    """Otherwise a slow machine, on which some of the second half were answered among the first,
    publishes nothing.
    """
    figures, _, _ = demo
    assert figures["recalibrate"]["coverage"] == 1


def test_the_ece_falls_on_images_that_the_recalibration_did_not_use(
    demo: tuple[dict[str, Any], str, Path],
) -> None:
    figures, _, _ = demo
    before, after = (figures["prove"][name]["measures"] for name in ("before", "after"))
    assert before["n"] == after["n"]
    assert after["ece"] < before["ece"]
    assert after["accuracy"] >= before["accuracy"]
    assert figures["prove"]["before"]["drift"]["active"]
    assert not figures["prove"]["after"]["drift"]["active"]


def test_pictures_and_bundles_are_left(demo: tuple[dict[str, Any], str, Path]) -> None:
    _, _, out = demo
    assert {path.name for path in (out / "pictures").iterdir()} == {"before.png", "after.png"}
    assert {path.name for path in (out / "models" / "digits-corrupted").iterdir()} >= {
        "1",
        "2",
        "production",
    }


def test_the_last_line_is_a_command_that_works_when_it_is_pasted(
    demo: tuple[dict[str, Any], str, Path],
) -> None:
    _, text, out = demo
    (command,) = re.findall(r"^To look at it in a browser: (.+)$", text, re.MULTILINE)
    assert command.endswith(
        f" serve --store {out / 'models'} --ledger sqlite:///{out / 'ledger.db'}"
    )
    shell = [
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
        "sh",
        "-c",
        f"{command} --help",
    ]  # no environment is active
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
