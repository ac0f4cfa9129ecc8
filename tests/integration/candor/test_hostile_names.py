"""Names of classes, tags and files as nobody should choose them, through every command that prints
them.

Nothing of a name may be taken for markup or an emoji, and no control character may reach the
terminal.
"""

from functools import partial
from pathlib import Path

import pytest

from candor.terminal.console import visible
from model_store.store.canary import start_canary
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, encode, picture, png
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import candor_here

CLASSES = (":heart: [red]", "[/] a:b [c]", "\x1b[31mred\u202e")
TAG = "[bold]:smile:[/bold]"


def said(*arguments: object, code: int = 0) -> str:
    """What a command prints, which never contains a control character."""
    done = candor_here(*arguments)
    assert done.exit_code == code, (done.output, done.exception)
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output
    return done.output


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two versions of a model with such classes: one in production, one its canary."""
    store = Store(tmp_path / "[bold]store")
    for _ in range(2):
        store.publish("tiny", partial(build_bundle, classes=CLASSES))
    store.promote("tiny", 1)
    start_canary(store, "tiny", 2, mode="share", share=0.1)
    return store


@pytest.fixture
def ledger(store: Store, tmp_path: Path) -> str:
    """150 answers, each with a tag, and labels; the answers were far too unsure."""
    url, card = f"sqlite:///{tmp_path}/[red]ledger.db", store.read("tiny").card
    record_unsure_answers(url, card, request_id="[red]:heart:", tags={"device": TAG})
    return url


def test_what_the_store_and_the_ledger_say(store: Store, ledger: str, tmp_path: Path) -> None:
    where = ("--store", store.root, "--ledger", ledger)
    assert "tiny" in said("models", "--store", store.root)
    assert "canary" in said("canary", "status", "tiny", *where)
    report = said("report", "tiny", "--ledger", ledger)
    assert f"device={TAG}" in report
    assert any(visible(name) in report for name in CLASSES)
    remedies = said(
        "recalibrate", "tiny", *where, "--preview", "--allow-label-changes", "--chosen-labels"
    )
    assert all(visible(name) in remedies for name in CLASSES)
    said("ledger", "check", "--ledger", ledger)
    exported = tmp_path / "[red]out:heart:.csv"
    assert f"{exported.name}: 150 answers" in said("ledger", "export", exported, "--ledger", ledger)


def test_what_predict_says(store: Store, tmp_path: Path) -> None:
    image, broken = tmp_path / "[red]scan:heart:.png", tmp_path / "\x1b[1mbroken\udcff.png"
    image.write_bytes(png())
    broken.write_bytes(b"text")
    shown = said("predict", image, broken, "--store", store.root, code=1)
    assert f"{image.name}: " in shown
    assert f"{visible(broken.name)}: the bytes are not an image" in shown
    assert all(visible(name) in shown for name in CLASSES)
    table = tmp_path / "answers.csv"
    said("predict", image, "--store", store.root, "--csv", table)
    assert all(f"probability {name}" in table.read_text(encoding="utf-8") for name in CLASSES)


@pytest.mark.nightly
def test_what_data_check_and_train_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = tmp_path / "[red]:heart:"
    folders = [name.replace("/", "|") for name in CLASSES]
    for name in folders:
        (data / name).mkdir(parents=True)
        for number in range(12):
            (data / name / f"[b]{number}.png").write_bytes(encode(picture(number), "PNG"))
    checked = said("data", "check", data)
    assert "[red]:heart: (layout folder)" in checked
    assert all(visible(name) in checked for name in folders)
    network = ("--backbone", "small_conv", "--weights", "none", "--image-size", 32, "--epochs", 1)
    assert "[red]run" in said("train", data, *network, "--out", tmp_path / "[red]run")
    assert "Published tiny version 1" in said(
        "export", tmp_path / "[red]run", "--name", "tiny", "--store", tmp_path / "store", "--anyway"
    )
