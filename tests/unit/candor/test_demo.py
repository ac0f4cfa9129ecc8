"""Parts of the demo that need neither training nor a server; tests/e2e runs all of it."""

from pathlib import Path

from candor.demo.run import OWN_ENTRIES, _clear


def test_only_what_an_earlier_demo_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "models" / "digits").mkdir(parents=True)
    (tmp_path / "ledger.db").touch()
    (tmp_path / "thesis.tex").touch()
    _clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert not {path.name for path in tmp_path.iterdir()} & set(OWN_ENTRIES)
