"""What is printed and written: names are no markup and no formula, proportions are percent."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from candor.terminal.console import visible
from model_store.store.canary import start_canary
from model_store.store.store import Store
from tests.builders.bundles import (
    build_bundle,
    color_weights,
    foreign_onnx,
    labeled_folder,
    linear,
    png,
)
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import Process, candor_here
from training.experiments.tables import Table

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
def hostile_store(tmp_path: Path) -> Store:
    """Two versions of a model with such classes: one in production, one its canary."""
    hostile_store = Store(tmp_path / "[bold]store")
    for _ in range(2):
        hostile_store.publish("tiny", partial(build_bundle, classes=CLASSES))
    hostile_store.promote("tiny", 1)
    start_canary(hostile_store, "tiny", 2, mode="share", share=0.1)
    return hostile_store


@pytest.fixture
def ledger(hostile_store: Store, tmp_path: Path) -> str:
    """150 answers, each with a tag, and labels; the answers were far too unsure."""
    url, card = f"sqlite:///{tmp_path}/[red]ledger.db", hostile_store.read("tiny").card
    record_unsure_answers(url, card, request_id="[red]:heart:", tags={"device": TAG})
    return url


def test_what_the_store_and_the_ledger_say(
    hostile_store: Store, ledger: str, tmp_path: Path
) -> None:
    where = ("--store", hostile_store.root, "--ledger", ledger)
    assert "tiny" in said("models", "--store", hostile_store.root)
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


def test_what_predict_says(hostile_store: Store, tmp_path: Path) -> None:
    image, broken = tmp_path / "[red]scan:heart:.png", tmp_path / "\x1b[1mbroken\udcff.png"
    image.write_bytes(png())
    broken.write_bytes(b"text")
    shown = said("predict", image, broken, "--store", hostile_store.root, code=1)
    assert f"{image.name}: " in shown
    assert f"{visible(broken.name)}: the bytes are not an image" in shown
    assert all(visible(name) in shown for name in CLASSES)
    table = tmp_path / "answers.csv"
    said("predict", image, "--store", hostile_store.root, "--csv", table)
    assert all(f"probability {name}" in table.read_text(encoding="utf-8") for name in CLASSES)


FORMULA = "=cmd|' /C calc'!A0"
FORMULAS = [FORMULA, "@SUM(1+1)", "plain", "'=quoted"]
NUMBER = re.compile(r"[+-]?[\d.]+(e-?\d+)?")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A `candor monitor` with a model of such classes."""
    monitor = Process("monitor", tmp_path, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    declared = monitor.client.post(
        "/models-log", json={"model": "eye", "version": 1, "classes": FORMULAS}
    )
    assert declared.status_code == 200
    yield monitor.url
    assert monitor.end() == 0
    monitor.stop()


def run(*arguments: object, code: int = 0) -> str:
    done = candor_here(*arguments)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def harmless(file: Path) -> list[dict[str, str]]:
    """The rows as a spreadsheet sees them, none of whose cells it would execute."""
    with file.open(newline="", encoding="utf-8") as stream:
        cells = list(csv.reader(stream))
    risky = [
        cell
        for row in cells
        for cell in row
        if cell.lstrip()[:1] in ("=", "+", "-", "@", "|", "%") and cell
    ]
    assert [cell for cell in risky if not NUMBER.fullmatch(cell)] == []
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def test_an_export_is_harmless_and_reads_back_as_it_was(url: str, tmp_path: Path) -> None:
    answers = [
        {
            "request_id": f"+scan{number}",
            "model": "eye",
            "probabilities": [0.7, 0.1, 0.1, 0.1],
            "tags": {"-site": FORMULA},
        }
        for number in range(8)
    ]
    assert httpx.post(f"{url}/predictions-log", json=answers).status_code == 200
    labels = [
        {
            "request_id": f"+scan{number}",
            "label": FORMULAS[number % 4],
            "source": "@me",
            "model": "eye",
        }
        for number in range(8)
    ]
    assert httpx.post(f"{url}/feedback", json=labels).status_code == 200
    exported = tmp_path / "answers.csv"
    run("ledger", "export", exported, "--ledger", f"sqlite:///{tmp_path / 'ledger.db'}")
    rows = harmless(exported)
    assert {row["label"] for row in rows} == {
        f"'{FORMULAS[0]}",
        f"'{FORMULAS[1]}",
        "plain",
        "''=quoted",
    }
    assert {row["request_id"] for row in rows} == {f"'+scan{number}" for number in range(8)}
    again = (exported, "--url", url, "--model", "eye")
    assert "unchanged: 8" in run("predictions", *again)
    assert "unchanged: 8" in run("feedback", *again)
    lines = (f'{row["request_id"]},"{row["label"]}",eye' for row in rows)
    table = "\n".join(["request_id,label,model", *lines])
    direct = httpx.post(f"{url}/feedback", content=table, headers={"Content-Type": "text/csv"})
    assert direct.json()["statuses"] == {"unchanged": 8}


def test_rejected_rows_are_harmless_and_can_be_sent_again(url: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label,=remark\n=1,no class,@note\n")
    run("feedback", file, "--url", url, "--model", "eye", code=1)
    rejected = tmp_path / "labels.csv.rejected.csv"
    (row,) = harmless(rejected)
    assert (row["request_id"], row["'=remark"]) == ("'=1", "'@note")
    run("feedback", rejected, "--url", url, "--model", "eye", code=1)
    (again,) = harmless(tmp_path / "labels.csv.rejected.csv.rejected.csv")
    assert again["request_id"] == "'=1"


def test_answers_in_a_table_are_harmless(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("tiny", partial(build_bundle, classes=tuple(FORMULAS[:3])))
    store.promote("tiny", 1)
    (tmp_path / "=scan.png").write_bytes(png())
    table = tmp_path / "answers.csv"
    predict = [sys.executable, "-m", "candor", "predict", "=scan.png"]
    subprocess.run([*predict, "--store", store.root, "--csv", table], cwd=tmp_path, check=True)
    (row,) = harmless(table)
    assert row["file"] == "'=scan.png"


def test_tables_of_experiments_are_harmless_and_figures_stay_figures(tmp_path: Path) -> None:
    columns = ("+method", "gap", "x")
    rows = (("=method", "-1.3 ± 0.2 points", "-"), ("plain", "-0.102", "-1.5 %"))
    Table("ece", "ECE", [dict(zip(columns, row, strict=True)) for row in rows]).write_csv(tmp_path)
    with (tmp_path / "ece.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [
            ["'+method", "gap", "x"],
            ["'=method", "-1.3 ± 0.2 points", "-"],
            ["plain", "-0.102", "-1.5 %"],
        ]


# Words in the names of JSON's numbers that are no proportions.
OTHERS = re.compile(
    "nll|brier|temperature|auroc|auprc|bias|weight|improvement|standard_error|log_|"
    "observed_expected|benefit|tolerance|difference|estimate|lower|upper|moved|everyone|factor"
)
FRACTION = re.compile(r"(?<![\w.])[+-]?(?:0\.\d{2,}|1\.0{2,})(?![\w.])(?! classes)")


def printed(*arguments: object) -> str:
    done = candor_here(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def others(data: Any, name: str = "") -> Iterator[float]:
    """The numbers of JSON that may be written as they are."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from others(value, key)
    elif isinstance(data, list):
        for value in data:
            yield from others(value, name)
    elif isinstance(data, float) and OTHERS.search(name):
        yield data


def strays(text: str, data: Any) -> set[str]:
    """Fractions in the text that are none of JSON's numbers of another kind."""
    known = {f"{abs(value):.{digits}f}" for value in others(data) for digits in (2, 3, 4)}
    return {found for found in FRACTION.findall(text) if found.lstrip("+-") not in known}


@pytest.fixture
def places(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[object]]:
    """What names them, and a folder with an image, a foreign model and labeled images."""
    monkeypatch.chdir(tmp_path)
    Path("scan.png").write_bytes(png())
    foreign_onnx(Path("m.onnx"), linear("Softmax"), constants={"weights": color_weights()})
    labeled_folder(Path("labeled"), images=40)
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_unsure_answers(url, tiny_store.read("tiny").card)
    store = ["--store", tiny_store.root]
    return {"store": store, "both": [*store, "--ledger", url], "ledger": ["--ledger", url]}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("report", "tiny"), "ledger"),
        (("recalibrate", "tiny", "--preview"), "both"),
        (("models", "list"), "store"),
        (("models", "show", "tiny"), "store"),
        (("predict", "scan.png", "--model", "tiny"), "store"),
        (("import", "m.onnx", "--pixels", "unit", "--data", "labeled", "--name", "own"), "store"),
    ],
)
def test_a_verb_writes_percent(
    words: tuple[str, ...], where: str, places: dict[str, list[object]]
) -> None:
    text, data = printed(*words, *places[where]), printed(*words, *places[where], "--json")
    assert strays(text, json.loads(data)) == set()
    assert text.count(" %") > 2


def test_a_canary_without_labels_is_not_compared(places: dict[str, list[object]]) -> None:
    printed("recalibrate", "tiny", *places["both"], "--shadow")
    status = ("canary", "status", "tiny", *places["both"])
    assert "Not compared" in printed(*status)
    assert json.loads(printed(*status, "--json"))["comparison"] is None


def test_calibrate_writes_percent(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    rows = [f"{0.81 + 0.001 * (n % 90)},{'b' if n % 4 else 'a'}" for n in range(400)]
    file.write_text("\n".join(["prob_b,label", *rows]))
    text, data = printed("calibrate", file), printed("calibrate", file, "--json")
    assert strays(text, json.loads(data)) == set()
    assert text.count(" %") > 10
