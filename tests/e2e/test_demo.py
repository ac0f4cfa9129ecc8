"""`candor demo` on digits, offline: every step happens, and its figures agree."""

import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from candor.demo.days import DAYS, IMAGES
from candor.demo.session import SITES
from tests.builders.processes import CANDOR, candor, environment

pytestmark = pytest.mark.nightly


class Demo(NamedTuple):
    """What `candor demo --data digits --once` printed and left."""

    figures: dict[str, Any]
    text: str
    out: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    words = ("demo", "--data", "digits", "--once")
    words += ("--out", folder / "out")
    done = candor(*words, timeout_s=1200, HOME=str(folder))
    assert done.returncode == 0, done.stderr
    return Demo(
        json.loads((folder / "out" / "figures.json").read_text()), done.stdout, folder / "out"
    )


def test_the_alarm_names_the_site_and_the_day_of_its_scanner(demo: Demo) -> None:
    days = demo.figures["days"]
    assert days["report"]["drift"]["active"]
    assert days["report"]["drift"]["raised_s"] > days["changed_s"]
    named, *_ = days["report"]["diagnosis"]["deviations"]
    inner = named["group"]["within"] or named["group"]
    assert ["Hillside"] in (named["group"]["values"], inner["values"])
    assert abs(named["since"]["likeliest"] - days["changed_s"]) < 3 * 86_400


def test_the_remedy_mends_that_site_alone_and_loses_no_request(demo: Demo) -> None:
    recalibrated = demo.figures["recalibrate"]
    assert recalibrated["failed_requests"] == 0
    assert set(recalibrated["requests_by_version"]) == {"1", "2"}
    assert min(recalibrated["requests_by_version"].values()) > 0
    assert recalibrated["coverage"] == 1
    assert recalibrated["difference_elsewhere"] < 1e-6
    before, after = (demo.figures["prove"]["measures"][name] for name in ("before", "after"))
    assert before["n"] == after["n"]
    assert after["ece"] < before["ece"]
    assert after["accuracy"] >= before["accuracy"]


def test_pages_of_cases_have_the_images_of_all_days(demo: Demo) -> None:
    with closing(sqlite3.connect(demo.out / "ledger.db")) as ledger:
        (kept,) = ledger.execute("SELECT count(*) FROM picture").fetchone()
    assert kept >= len(SITES) * DAYS * IMAGES


def test_it_ends_without_an_alarm(demo: Demo) -> None:
    """Images of the model's own making once made the end "unknown". Corrupted digits stay hard to
    read, so that their end is a look at rates; that of radiographs is green.
    """
    report = demo.figures["prove"]["report"]
    assert report["version"] == 2
    assert report["diagnosis"]["state"] in ("look", "fine")
    assert not report["drift"]["active"]


def test_pictures_bundles_and_a_command_that_works_are_left(demo: Demo) -> None:
    assert {path.name for path in (demo.out / "pictures").iterdir()} == {"before.png", "after.png"}
    models = {path.name for path in (demo.out / "models" / "digits-corrupted").iterdir()}
    assert models >= {"1", "2", "history.jsonl"}
    (command,) = re.findall(r"^To look at it in a browser: (.+)$", demo.text, re.MULTILINE)
    ledger = f"sqlite:///{demo.out / 'ledger.db'}"
    assert command.endswith(f" serve --store {demo.out / 'models'} --ledger {ledger}")
    shell = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", f"{command} --help"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_gone_takes_no_file_with_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = (*CANDOR, "demo", "--data", "digits")
    done = subprocess.run(
        words, cwd=tmp_path, stdout=writing, stderr=writing, env=environment(), check=False
    )
    os.close(writing)
    assert done.returncode == 0  # without --once: nobody has read where the server is
    assert "prove" in json.loads((tmp_path / "demo-output" / "figures.json").read_text())
