"""Parts of the demo that need neither training nor a server; tests/e2e runs all of it."""

from pathlib import Path

import pytest

from candor.demo.recalibration import _outcome
from candor.demo.run import OWN_ENTRIES, _clear
from candor.demo.traffic import SentImages
from candor.demo.training import comparison


def test_only_what_an_earlier_demo_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "models" / "digits").mkdir(parents=True)
    (tmp_path / "ledger.db").touch()
    (tmp_path / "thesis.tex").touch()
    _clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert not {path.name for path in tmp_path.iterdir()} & set(OWN_ENTRIES)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            (0.12, 0.09, 0.16),
            (0.05, 0.01, 0.08),
            "ECE fell: 0.120 -> 0.050 (floor 0.030); the intervals do not over",
        ),
        (
            (0.12, 0.05, 0.16),
            (0.07, 0.00, 0.11),
            "ECE fell: 0.120 -> 0.070 (floor 0.030); the intervals overlap.",
        ),
        ((0.05, 0.00, 0.11), (0.07, 0.00, 0.11), "ECE did not fall: 0.050 -> 0.070"),
    ],
)
def test_the_outcome_follows_from_the_figures(
    before: tuple[float, float, float], after: tuple[float, float, float], said: str
) -> None:
    names = ("ece", "ece_lower", "ece_upper")
    reports = {
        name: {
            "measures": dict(zip(names, figures, strict=True))
            | {"noise_floor": 0.03, "accuracy": 0.8}
        }
        for name, figures in (("before", before), ("after", after))
    }
    assert _outcome(reports).startswith(said)


@pytest.mark.parametrize(
    ("ece", "accuracy", "said"),
    [
        (0.08, 0.86, "DCA has a lower ECE and a higher accuracy here than cross-entropy."),
        (0.08, 0.84, "DCA has a lower ECE here than"),
        (0.10, 0.86, "DCA has a higher accuracy here than"),
        (0.10, 0.85, "DCA has neither a lower ECE nor a higher accuracy here than"),
    ],
)
def test_the_comparison_of_the_losses_follows_from_the_figures(
    ece: float, accuracy: float, said: str
) -> None:
    ce = {"ece": 0.09, "accuracy": 0.85}
    found = comparison(
        {"ce_temperature": ce, "dca_temperature": {"ece": ece, "accuracy": accuracy}}
    )
    assert said in found
    assert "Another\nseed may show the opposite" in found


def test_images_that_were_sent_one_after_another_are_joined_in_that_order() -> None:
    answers = [{"prediction_id": name, "predicted": "a", "confidence": 0.9} for name in "xyz"]
    both = SentImages([4], answers[:1], ["a"]) + SentImages([2, 7], answers[1:], ["b", "a"])
    assert (both.indices, both.prediction_ids, both.labels) == (
        [4, 2, 7],
        ["x", "y", "z"],
        ["a", "b", "a"],
    )
    assert both.sums().total == 3
