"""`candor calibrate` on files without labels, with slips, or with nothing to improve."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from candor.predictions.errors import PredictionsRefused
from tests.builders.processes import candor_here

run = partial(candor_here, "calibrate", catch_exceptions=False)

CLASSES = ("normal", "pneumonia")


def _table(
    file: Path, *, labels: tuple[str, str] = CLASSES, too_sure: float = 3.0, slip: str | None = None
) -> Path:
    """300 rows, sorted by label; the log-odds are `too_sure` times those that the labels follow."""
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 1.5, 300)
    ill = rng.random(300) < 1 / (1 + np.exp(-odds))
    p = 1 / (1 + np.exp(-too_sure * odds))
    order = np.argsort(ill, kind="stable")
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", *CLASSES, "label"])
        for number, i in enumerate(order):
            named = slip if slip and number == 299 else labels[int(ill[i])]
            rows.writerow([f"{number}.png", f"{1 - p[i]:.6f}", f"{p[i]:.6f}", named])
    return file


@pytest.fixture
def calibrator(tmp_path: Path) -> Path:
    done = run(_table(tmp_path / "labeled.csv"), "--out", tmp_path / "cal")
    assert "Calibrator and report are in" in done.stderr
    return tmp_path / "cal/calibrator.json"


def _applied(calibrator: Path, text: str, *more: str) -> tuple[list[dict[str, str]], str]:
    source, to = calibrator.parent / "new.csv", calibrator.parent / "out.csv"
    source.write_text(text)
    done = run(source, "--apply", calibrator, "--to", to, *more)
    with to.open(newline="") as stream:
        return list(csv.DictReader(stream)), done.stderr


def test_a_calibrator_is_applied_to_rows_without_labels_which_keep_their_ids(
    calibrator: Path,
) -> None:
    rows, _ = _applied(
        calibrator, "file,request_id,normal,pneumonia\na.png,r1,0.1,0.9\nb.png,,0.6,0.4\n"
    )
    assert [(row["row"], row["file"], row["request_id"], row["predicted"]) for row in rows] == [
        ("1", "a.png", "r1", "pneumonia"),
        ("2", "b.png", "", "normal"),
    ]
    assert 0.5 < float(rows[0]["probability pneumonia"]) < 0.8
    swapped, _ = _applied(calibrator, "file,Pneumonia,Normal\na.png,0.9,0.1\n")
    assert swapped[0]["probability pneumonia"] == rows[0]["probability pneumonia"]


@pytest.mark.parametrize(("column", "ill"), [("score", True), ("p_normal", False)])
def test_one_score_is_of_the_second_class_of_the_calibrator_or_of_the_one_it_names(
    calibrator: Path, column: str, ill: bool
) -> None:
    rows, said = _applied(calibrator, f"file,{column}\na.png,0.9\n")
    assert rows[0]["predicted"] == ("pneumonia" if ill else "normal")
    assert f"{column} was taken as the probability of '{rows[0]['predicted']}'" in said
    assert (
        _applied(calibrator, f"file,{column}\na.png,0.9\n", "--positive", "normal")[0][0][
            "predicted"
        ]
        == "normal"
    )


def test_columns_that_are_not_those_of_the_calibrator_are_refused_by_its_names(
    calibrator: Path,
) -> None:
    with pytest.raises(
        PredictionsRefused, match=r"classes of the calibrator, normal, pneumonia.*--probabilities"
    ):
        _applied(calibrator, "file,a,b\nx,0.1,0.9\n")


@pytest.mark.parametrize(
    ("labels", "slip", "said"),
    [
        (CLASSES, "pnuemonia", r"label 'pnuemonia' \(row 300\).*a slip for 'pneumonia'"),
        (
            ("normal", "pnuemonia"),
            None,
            r"labels 'pnuemonia' \(\d+ rows\) do not match the columns normal, pneumonia",
        ),
        (
            ("healthy", "ill"),
            None,
            r"'healthy' \(\d+ rows\), 'ill' .*columns normal, pneumonia.*--probabilities normal,p",
        ),
    ],
)
def test_labels_that_no_column_is_called_by_are_named(
    tmp_path: Path, labels: tuple[str, str], slip: str | None, said: str
) -> None:
    with pytest.raises(PredictionsRefused) as refused:
        run(_table(tmp_path / "p.csv", labels=labels, slip=slip))
    refused.match(said)


def test_no_calibrator_is_written_where_none_improves(tmp_path: Path) -> None:
    done = run(_table(tmp_path / "p.csv", too_sure=1.0), "--out", tmp_path / "out")
    assert "No calibrator" in done.stdout
    assert "No calibrator was written" in done.stderr
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.json",
        "reliability.svg",
    }
