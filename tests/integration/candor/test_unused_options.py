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
        ("calibrate", "a.csv", "--apply", "c.json", "--to", "b.csv", "--out", "folder"),
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
    done = candor_here(*named)
    assert done.exit_code == 2, done.output
    assert not Path("scored").exists()
