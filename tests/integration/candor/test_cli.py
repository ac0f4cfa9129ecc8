"""The command line, verb by verb, on real bundles and a real ledger."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from candor import command_line
from model_store.store.canary import read_canary
from model_store.store.store import Store
from monitoring.errors import RecalibrationRefused
from monitoring.ledger.database import Ledger
from tests.builders.bundles import png
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import candor_here as run


def verbs(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Every verb and every group of verbs, by the words that are typed."""
    yield words
    for word, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, *words, word)


def test_every_help_fits_80_columns_and_says_what_the_verb_does() -> None:
    for words in verbs(typer.main.get_command(command_line.app)):
        result = run(*words, "--help")
        lines = [line.rstrip() for line in result.stdout.splitlines()]
        assert result.exit_code == 0, words
        assert max(map(len, lines)) <= 80, words
        usage, purpose = [line for line in lines if line][:2]
        assert usage.startswith(f"Usage: {' '.join(['candor', *words])}")
        assert purpose.strip()[0].isupper(), words


def test_predict_on_a_folder_answers_good_images_and_fails_for_bad_ones(
    tiny_store: Store, tmp_path: Path
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
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is often named after the folder of images from which it was trained."""
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    Path("tiny/scan.png").write_bytes(png())
    (answer,) = json.loads(
        run("predict", "tiny", "--model", "tiny", "--store", tiny_store.root, "--json").stdout
    )
    assert (answer["model"], answer["version"]) == ("tiny", 1)


def test_predict_finds_a_model_in_the_store(tiny_store: Store, tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(png())
    image, where = tmp_path / "scan.png", ("--store", tiny_store.root)
    by_name = json.loads(run("predict", image, "--model", "tiny", *where, "--json").stdout)
    assert (by_name[0]["model"], by_name[0]["version"]) == ("tiny", 1)
    assert json.loads(run("predict", image, *where, "--json").stdout) == by_name  # the only one
    done = run("predict", image, "--model", "tiny", *where, "--csv", tmp_path / "answers.csv")
    assert "answers.csv: 1 row" in done.stdout


@pytest.fixture
def labeled_ledger(tiny_store: Store, tmp_path: Path) -> str:
    """A ledger with 150 answers of version 1 and their labels; the answers were far too unsure."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_unsure_answers(url, tiny_store.read("tiny").card)
    return url


def test_recalibrate_publishes_the_next_version_and_does_not_promote(
    labeled_ledger: str, tiny_store: Store, tmp_path: Path
) -> None:
    where = ("tiny", "--ledger", labeled_ledger, "--store", tiny_store.root)
    shown = run("recalibrate", *where, "--preview", "--html", tmp_path / "preview.html")
    assert "nothing was published" in shown.stdout
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert page.count('<svg class="square"') == 2
    assert tiny_store.versions("tiny") == [1]
    done = json.loads(run("recalibrate", *where, "--json").stdout)
    assert (done["card"]["version"], done["published"]) == (2, True)
    assert done["new_temperature"] != done["old_temperature"]
    run("models", "retire", "tiny", "2", *where[3:])  # else it waits for its promotion
    assert "candor promote tiny 3" in run("recalibrate", *where).stdout
    assert tiny_store.production("tiny") == 1
    assert isinstance(
        run("recalibrate", *where, "--min-labels", "500").exception, RecalibrationRefused
    )


@pytest.mark.parametrize(
    ("option", "mode", "share"),
    [(("--shadow",), "shadow", 0.0), (("--canary", "0.1"), "share", 0.1)],
)
def test_recalibrate_can_be_tried_out_first(
    labeled_ledger: str, tiny_store: Store, option: tuple[str, ...], mode: str, share: float
) -> None:
    where = ("tiny", "--ledger", labeled_ledger, "--store", tiny_store.root)
    assert "candor canary status tiny" in run("recalibrate", *where, *option).stdout
    canary = read_canary(tiny_store, "tiny")
    assert (canary.version, canary.mode, canary.share) == (2, mode, share)
    listed = json.loads(run("models", "list", *where[3:], "--json").stdout)
    assert [each["canary"] for each in listed] == [None, {"mode": mode, "share": share}]
    words = "canary (10 %)" if mode == "share" else f"canary ({mode})"
    assert words in run("models", *where[3:]).stdout
    assert run("recalibrate", *where, "--preview", *option).exit_code == 2


def test_ledger_check_counts_and_repairs(labeled_ledger: str) -> None:
    ledger = ("--ledger", labeled_ledger)
    assert run("ledger", "check", *ledger).exit_code == 0
    with Ledger(labeled_ledger) as opened, opened.write() as connection:
        connection.exec_driver_sql("UPDATE bin_day SET n = n + 1 WHERE slice = ''")
    broken = run("ledger", "check", *ledger)
    assert (broken.exit_code, "bin_day: " in broken.stdout) == (1, True)
    mended = run("ledger", "check", "--repair", *ledger, "--json")
    assert mended.exit_code == 0
    assert json.loads(mended.stdout)["differing"].keys() == {"bin_day"}
    assert run("ledger", "check", *ledger).exit_code == 0


def test_ledger_export_backup_prune_and_forget(labeled_ledger: str, tmp_path: Path) -> None:
    where = ("--ledger", labeled_ledger)
    assert "150 answers" in run("ledger", "export", tmp_path / "all.csv", *where).stdout
    first = (tmp_path / "all.csv").read_text().splitlines()[1].split(",")[0]
    assert run("ledger", "backup", tmp_path / "copy.db", *where).exit_code == 0
    erased = run("ledger", "forget", "--prediction-id", first, *where, "--json")
    assert json.loads(erased.stdout) == {"answers": 1, "labels": 1, "waiting": 0}
    assert run("ledger", "forget", "--prediction-id", first, *where).exit_code == 1
    assert "Deleted 0" in run("ledger", "prune", "--older-than", "90d", *where).stdout
    assert "149 answers" in run("ledger", "check", *where).stdout
