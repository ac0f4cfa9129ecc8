"""Options that would do nothing are refused before anything is done."""

from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.processes import candor_here

OUT = ("--out", "scored", "--model", "tiny")
URL = ("--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "folder", *OUT, "--token-file", "token"),
        ("predict", "folder", *OUT, *URL),
        ("predict", "a.png", *URL, "--store", "store"),
        ("predict", "a.png", "--token-file", "token"),
        ("predict", "a.png", "--model", "store/tiny/1", "--version", "2"),
        ("feedback", "--prediction-id", "01a2", "--label", "ill", "--model", "tiny"),
        ("feedback", "--prediction-id", "01a2", "--label", "ill", "--early"),
        ("feedback", "--prediction-id", "01a2", "--label", "ill", "--request-id", "path"),
        ("calibrate", "a.csv", "--apply", "c.json", "--to", "b.csv", "--out", "folder"),
        ("calibrate", "classes.csv", "--threshold", "youden", "--out", "scored"),
        ("calibrate", "findings.csv", "--findings", "*", "--allow-label-changes"),
        ("calibrate", "findings.csv", "--findings", "*", "--exclusive"),
        ("calibrate", "findings.csv", "--findings", "*", "--normalize"),
        ("calibrate", "classes.csv", "--scores", "p_*", "--confidence", "p_a"),
        ("calibrate", "classes.csv", "--logits", "--normalize"),
        ("calibrate", "confidence.csv", "--positive", "a"),
        ("calibrate", "confidence.csv", "--logits"),
        ("calibrate", "correct.csv", "--correct", "correct", "--label", "correct"),
        ("train", "digits", "--loss", "ce", "--beta", "3"),
        ("import", "a.onnx", "--group", "site"),
        ("recalibrate", "tiny", "--preview", "--accept-harm"),
        ("traffic", "--store", "store", "--once"),
        ("models", "gc", "--dry-run", "--yes", "--ledger", "off"),
        ("experiment", "figure", "3", "--data", "digits", "--out", "scored"),
        ("models", "alias", "tiny", "staging", "--why", "no change"),
        ("promote", "tiny", "1", "--limit", "3"),
        ("report", "tiny", "--token-file", "token"),
    ],
    ids=" ".join,
)
def test_an_option_that_does_nothing_is_refused(
    words: tuple[str, ...], tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(tiny_store.root)
    monkeypatch.chdir(root.parent)
    named = [str(root / "tiny" / "1") if word == "store/tiny/1" else word for word in words]
    Path("token").write_text("secret")
    Path("a.png").touch()
    Path("classes.csv").write_text("label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\n" * 40)
    Path("findings.csv").write_text("x,p_x\n" + "1,0.8\n0,0.3\n" * 40)
    Path("confidence.csv").write_text("label,predicted,confidence\n" + "a,a,0.8\nb,a,0.7\n" * 40)
    Path("correct.csv").write_text("correct,confidence\n" + "1,0.8\n0,0.7\n" * 40)
    done = candor_here(*named)
    assert done.exit_code == 2, done.output
    assert not Path("scored").exists()


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        ("label,p_a,p_b\na,0.8,0.2\n", ("--positive", "a"), "--positive: each class has"),
        ("label,prob\n1,0.8\n0,0.3\n", ("--normalize",), "--normalize: there is a single"),
        (
            "label,prob\n1,0.8\n0,0.3\n",
            ("--classes", "0,1", "--positive", "1"),
            "--positive: the second",
        ),
    ],
)
def test_an_option_for_which_the_table_has_no_use_is_refused(
    table: str, options: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(table)
    done = candor_here("calibrate", tmp_path / "a.csv", *options)
    assert (done.exit_code, says in str(done.exception)) == (1, True)
