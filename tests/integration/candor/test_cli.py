"""The command line, verb by verb, on real bundles and a real ledger; servers and training are in
tests/e2e.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import uuid_utils
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from calibration.calibrators.temperature import apply_temperature
from candor import command_line
from model_store.bundle.bundle import Bundle
from model_store.lifecycle.canary import read_canary
from model_store.store.store import Store
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command_line.app, [str(each) for each in arguments])


def verbs(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Every verb and every group of verbs, by the words that are typed."""
    yield words
    for word, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, *words, word)


@pytest.mark.parametrize(
    "words", list(verbs(typer.main.get_command(command_line.app))), ids=" ".join
)
def test_every_help_fits_80_columns_and_says_what_the_verb_does(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    result = run(*words, "--help")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    usage, purpose = [line for line in lines if line][:2]
    assert usage.startswith(f" Usage: {' '.join(['candor', *words])}")
    assert purpose[1].isupper()


def test_models_marks_the_version_in_production(
    tiny_store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    tiny_store.publish("tiny", make_bundle)
    listed = json.loads(run("models", "--store", tiny_store.root, "--json").stdout)
    assert [(entry["version"], entry["production"]) for entry in listed] == [(1, True), (2, False)]
    assert "tiny" in run("models", "--store", tiny_store.root).stdout


def test_models_of_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    assert "candor export" in run("models", "--store", tmp_path).stdout


def test_promote_moves_the_alias_and_back(
    tiny_store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    tiny_store.publish("tiny", make_bundle)
    assert run("promote", "tiny", "2", "--store", tiny_store.root).exit_code == 0
    assert tiny_store.production("tiny") == 2
    assert run("promote", "tiny", "1", "--store", tiny_store.root).exit_code == 0
    assert tiny_store.production("tiny") == 1


def test_a_refusal_is_one_sentence_and_exit_code_1(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["candor", "promote", "tiny", "7", "--store", str(tiny_store.root)]
    )
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.strip() == (
        f"candor: there is no version 7 of 'tiny': the store {tiny_store.root} has version 1 of "
        "'tiny'"
    )


def test_predict_on_a_folder_answers_good_images_and_fails_for_bad_ones(
    tiny_store: Store, png: Callable[..., bytes], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(png())
    (images / "b.png").write_bytes(b"this is text")
    result = run("predict", images, "--model", tiny_store.folder("tiny", 1), "--json")
    good, bad = json.loads(result.stdout)
    assert good["confidence"] == max(good["probabilities"].values())
    assert "not an image" in bad["error"]
    assert result.exit_code == 1
    (images / "b.png").unlink()
    assert run("predict", images, "--model", tiny_store.folder("tiny", 1)).exit_code == 0


def test_predict_finds_a_model_that_has_the_name_of_its_data(
    tiny_store: Store, png: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is often named after the folder of images from which it was trained."""
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    Path("tiny/scan.png").write_bytes(png())
    (answer,) = json.loads(
        run("predict", "tiny", "--model", "tiny", "--store", tiny_store.root, "--json").stdout
    )
    assert (answer["model"], answer["version"]) == ("tiny", 1)


def test_predict_finds_a_model_in_the_store(
    tiny_store: Store, png: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "scan.png").write_bytes(png())
    image, where = tmp_path / "scan.png", ("--store", tiny_store.root)
    by_name = json.loads(run("predict", image, "--model", "tiny", *where, "--json").stdout)
    assert (by_name[0]["model"], by_name[0]["version"]) == ("tiny", 1)
    assert json.loads(run("predict", image, *where, "--json").stdout) == by_name  # the only one
    done = run("predict", image, "--model", "tiny", *where, "--csv", tmp_path / "answers.csv")
    assert "answers.csv: 1 row" in done.stdout
    said = [
        (
            ("--model", "tinny", *where),
            f"the store {tiny_store.root} has no model 'tinny'; it has tiny",
        ),
        (
            ("--model", "tiny", "--version", "9", *where),
            f"the store {tiny_store.root} has version 1 of 'tiny'",
        ),
        (
            ("--model", "tiny", "--store", tmp_path / "no"),
            f"there is no store {tmp_path / 'no'}: `candor export` makes it",
        ),
    ]
    for arguments, sentence in said:
        assert sentence in str(run("predict", image, *arguments).exception)
    usage = [
        (("--model", tmp_path, *where), "has no card.json, so it is no bundle"),
        (
            ("--store", tmp_path / "no"),
            "no does not exist: `candor export` publishes into it; or ask a server with --url",
        ),
        (("--request-id", "path"), "name it with --url"),
        (("--url", "127.0.0.1:8080"), "write it with http:// or https://"),
    ]
    for arguments, sentence in usage:
        wrong = run("predict", image, *arguments)
        assert wrong.exit_code == 2
        assert sentence in " ".join(wrong.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "x.png"),
        ("feedback",),
        ("feedback", "--prediction-id", "x"),
        ("report", "--ledger", "off"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).exit_code == 2


@pytest.fixture
def labeled_ledger(tiny_store: Store, tmp_path: Path) -> str:
    """A ledger with 150 answers of version 1 and their labels; the answers were far too unsure."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    card = tiny_store.read("tiny").card
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([3, 2, 2], 150).astype("<f4")
    truth = (
        apply_temperature(np.log(probabilities), 0.2).cumsum(axis=1) > rng.random((150, 1))
    ).argmax(axis=1)
    ids = [uuid_utils.uuid7().bytes for _ in probabilities]
    with Ledger(url) as ledger, Recorder(ledger, MonitorMetrics(CollectorRegistry())) as recorder:
        calibration = recorder.register(card)
        rows = [
            PredictionRow(
                prediction_id=key,
                watched_version_id=calibration,
                request_id=None,
                predicted=int(row.argmax()),
                confidence=float(row.max()),
                probabilities=row.tobytes(),
                served_at_ns=ledger.clock(),
            )
            for key, row in zip(ids, probabilities, strict=True)
        ]
        recorder.record(rows, lambda error: None)
        labels = [card.classes[index] for index in truth]
        recorder.feedback([FeedbackItem(*pair) for pair in zip(labels, ids, strict=True)]).result()
    return url


def test_report_reads_the_ledger(labeled_ledger: str) -> None:
    report = json.loads(run("report", "--ledger", labeled_ledger, "--json").stdout)
    assert report["coverage"] == {"served": 150, "labeled": 150, "ratio": 1.0}
    shown = run("report", "tiny", "--ledger", labeled_ledger).stdout
    assert "150 of 150 answers have a label" in shown
    assert "Should you be worried?" in shown
    assert "What to do:" in shown


@pytest.mark.parametrize(
    "rest", [(), ("--every", "day", "--to", "reports", "--once")], ids=["now", "filed"]
)
def test_a_report_of_a_model_that_is_not_there_says_what_the_ledger_has(
    rest: tuple[str, ...], labeled_ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    Ledger(empty).close()
    for ledger, listed in (
        (labeled_ledger, "it knows tiny"),
        (empty, "there is none in it yet: serve one first"),
    ):
        refused = run("report", "nowhere", *rest, "--ledger", ledger).exception
        assert str(refused) == f"The ledger knows no model 'nowhere'; {listed}."


def test_a_report_is_filed_as_one_page(labeled_ledger: str, tmp_path: Path) -> None:
    file = tmp_path / "october.html"
    done = run("report", "tiny", "--ledger", labeled_ledger, "--since", "30d", "--html", str(file))
    assert f"The report is in {file}" in done.stdout.replace("\n", "")
    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert "Answers served from" in page
    assert "Calibration report: tiny" in page
    late = run("report", "tiny", "--ledger", labeled_ledger, "--since", "soon")
    assert late.exit_code == 1
    assert "a number of days such as 30d" in str(late.exception)
    assert (
        run(
            "report", "tiny", "--ledger", labeled_ledger, "--since", "30d", "--window", "all"
        ).exit_code
        == 2
    )


def test_a_preview_is_drawn_in_a_page(
    labeled_ledger: str, tiny_store: Store, tmp_path: Path
) -> None:
    drawn = tmp_path / "preview.html"
    where = (
        "tiny",
        "--store",
        tiny_store.root,
        "--ledger",
        labeled_ledger,
        "--preview",
        "--html",
        drawn,
    )
    told = run("recalibrate", *where).stdout
    assert f"The diagrams are in {drawn}" in told.replace("\n", "")
    page = drawn.read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    for text in (
        "As served",
        "Recalibrated",
        "sensitivity",
        "specificity",
        "malignant",
    ):
        assert text in page
    assert "how these labels were chosen" not in page  # all answers have one
    assert tiny_store.versions("tiny") == [1]


def test_recalibrate_publishes_the_next_version_and_does_not_promote(
    labeled_ledger: str, tiny_store: Store
) -> None:
    result = run(
        "recalibrate", "tiny", "--ledger", labeled_ledger, "--store", tiny_store.root, "--json"
    )
    done = json.loads(result.stdout)
    assert done["card"]["version"] == 2
    assert done["new_temperature"] != done["old_temperature"]
    assert tiny_store.production("tiny") == 1
    again = run("recalibrate", "tiny", "--ledger", labeled_ledger, "--store", tiny_store.root)
    assert "A temperature was fitted on 90 labels of version 1" in again.stdout
    assert "The other 60 labels measure what it does." in again.stdout
    assert "Published as version 3. Next: candor promote tiny 3" in again.stdout


def test_recalibrate_can_be_looked_at_and_tried_out_first(
    labeled_ledger: str, tiny_store: Store
) -> None:
    where = ("tiny", "--ledger", labeled_ledger, "--store", tiny_store.root)
    shown = run("recalibrate", *where, "--preview")
    assert "Remedies, cross-validated" in shown.stdout
    assert "sensitivity" in shown.stdout
    assert "how these labels were chosen" not in shown.stdout  # all answers have one
    assert "This was a preview: nothing was published." in shown.stdout
    assert tiny_store.versions("tiny") == [1]
    assert (
        "on trial. Next: candor canary status tiny" in run("recalibrate", *where, "--shadow").stdout
    )
    canary = read_canary(tiny_store, "tiny")
    assert canary is not None
    assert (canary.version, canary.mode) == (2, "shadow")
    run("recalibrate", *where, "--canary", "0.1")
    canary = read_canary(tiny_store, "tiny")
    assert canary is not None
    assert (canary.version, canary.mode, canary.share) == (3, "share", 0.1)
    assert run("recalibrate", *where, "--preview", "--shadow").exit_code == 2
    refused = run("recalibrate", *where, "--min-labels", "500")
    assert "Got 150 labeled answers of tiny version 1; expected at least 500." in str(
        refused.exception
    )


def test_ledger_check_counts_and_says_what_differs(labeled_ledger: str) -> None:
    assert "150 answers, 150 labels" in run("ledger", "check", "--ledger", labeled_ledger).stdout
    with Ledger(labeled_ledger) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("UPDATE bin_day SET n = n + 1 WHERE slice = ''")
    broken = run("ledger", "check", "--ledger", labeled_ledger)
    assert broken.exit_code == 1
    assert "bin_day: watched_version_id 1, slice , day" in broken.stdout
    mended = run("ledger", "check", "--repair", "--ledger", labeled_ledger, "--json")
    assert mended.exit_code == 0
    assert json.loads(mended.stdout)["differing"].keys() == {"bin_day"}
    assert "all agree" in run("ledger", "check", "--ledger", labeled_ledger).stdout


def test_ledger_export_backup_prune_and_forget(labeled_ledger: str, tmp_path: Path) -> None:
    where = ("--ledger", labeled_ledger)
    assert "150 answers" in run("ledger", "export", tmp_path / "all.csv", *where).stdout
    first = (tmp_path / "all.csv").read_text().splitlines()[1].split(",")[0]
    assert "bytes" in run("ledger", "backup", tmp_path / "copy.db", *where).stdout
    assert (
        "Erased 1 answer, 1 label and 0 waiting labels"
        in run("ledger", "forget", "--prediction-id", first, *where).stdout
    )
    assert run("ledger", "forget", "--prediction-id", first, *where).exit_code == 1
    assert "Deleted 0 answers" in run("ledger", "prune", "--older-than", "90d", *where).stdout
    assert "149 answers" in run("ledger", "check", *where).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "--older-than", "a year"),
        ("forget",),
        ("forget", "--prediction-id", "seven"),
        ("forget", "--prediction-id", "x", "--request-id", "y"),
    ],
)
def test_wrong_use_of_the_ledgers_verbs_is_exit_code_2(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("ledger", *arguments).exit_code == 2
