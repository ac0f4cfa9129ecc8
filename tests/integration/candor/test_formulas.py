"""No CSV of Candor holds a formula that a spreadsheet would execute, and all read back."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png
from tests.builders.processes import Process, candor_here
from training.experiments.tables import Table

FORMULA = "=cmd|' /C calc'!A0"
CLASSES = [FORMULA, "@SUM(1+1)", "plain", "'=quoted"]
NUMBER = re.compile(r"[+-]?[\d.]+(e-?\d+)?")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A `candor monitor` with a model of such classes."""
    monitor = Process("monitor", tmp_path, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    declared = monitor.client.post(
        "/models-log", json={"model": "eye", "version": 1, "classes": CLASSES}
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
            "label": CLASSES[number % 4],
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
        f"'{CLASSES[0]}",
        f"'{CLASSES[1]}",
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
    store.publish("tiny", partial(build_bundle, classes=tuple(CLASSES[:3])))
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
