"""Parts of the demo that need neither training nor a server; tests/e2e runs all of it."""

from pathlib import Path

from candor.demo.run import OWN_ENTRIES, _clear
from candor.demo.traffic import SentImages


def test_only_what_an_earlier_demo_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "models" / "digits").mkdir(parents=True)
    (tmp_path / "ledger.db").touch()
    (tmp_path / "thesis.tex").touch()
    _clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert not {path.name for path in tmp_path.iterdir()} & set(OWN_ENTRIES)


def test_images_that_were_sent_one_after_another_are_joined_in_that_order() -> None:
    answers = [{"prediction_id": name, "predicted": "a", "confidence": 0.9} for name in "xyz"]
    both = SentImages([4], answers[:1], ["a"]) + SentImages([2, 7], answers[1:], ["b", "a"])
    assert (both.indices, both.prediction_ids, both.labels) == (
        [4, 2, 7],
        ["x", "y", "z"],
        ["a", "b", "a"],
    )
    assert both.sums().total == 3
