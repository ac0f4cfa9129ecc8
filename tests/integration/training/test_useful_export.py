"""A model that beats a constant answer is published with its warning; one that does not is refused.

The answers of a finished run are exchanged for others.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.calibrators.constant_answer import beats_constant_answer, frequencies_gain
from model_store.bundle.model_card import MODEL_CARD_FILE
from model_store.store.store import Store
from tests.builders.datasets import shades
from training.errors import UselessModel
from training.evaluation.evaluation import evaluate
from training.evaluation.predictions import Predictions, read_predictions, write_predictions
from training.evaluation.usefulness import constant_answer
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.export import export
from training.runs.run import train

CONFIG = TrainConfig(backbone=SMALL, weights="none", image_size=32, epochs=1)
Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        CONFIG, shades(("dark", "bright")), tmp_path_factory.mktemp("runs") / "run", pictures=False
    ).folder


def answering(trained: Path, out: Path, *, val: Rows, test: Rows, rare: float = 0.2) -> Path:
    """The run with log odds `val` and `test`, of class 1 if it is true, minus that if not; a share
    `rare` of the images is of class 1.
    """
    run = shutil.copytree(trained, out / "run")
    answers = {}
    for split, odds in (("val", val), ("test", test)):
        count = len(read_predictions(run)[split].labels)
        labels = (np.arange(count) < round(rare * count)).astype(np.int64)
        of_class = np.where(labels == 1, *np.resize(odds, (count, 2)).T)
        answers[split] = Predictions(np.stack([0 * of_class, of_class], 1), labels)
    write_predictions(run, answers)
    return run


def pair(ill: float, healthy: float) -> Rows:
    """Log odds of class 1 where it is true, and where it is not."""
    return np.float32([[ill, healthy]])


def test_one_that_ranks_a_rare_class_but_never_predicts_it(trained: Path, tmp_path: Path) -> None:
    run = answering(trained, tmp_path, val=pair(-0.3, -3), test=pair(-0.3, -3))
    store = Store(tmp_path / "store")
    card = export(run, store, "shades").card
    found = card.provenance.training.shortcomings
    assert found is not None
    assert len(found) >= 1
    text = (store.require("shades", 1) / MODEL_CARD_FILE).read_text()
    assert all(each in text for each in found)


def test_one_that_validation_shows_to_be_useful_where_test_is_too_small(
    trained: Path, tmp_path: Path
) -> None:
    """Test alone shows a lower NLL, but not outside noise."""
    mixed = np.float32([[-1.9, -0.3], [-1.1, -3], [-0.1, -3], [-0.1, -0.6]])
    run = answering(trained, tmp_path, val=pair(-0.3, -3), test=mixed)
    evaluation = evaluate(read_predictions(run))
    test, p = evaluation.predictions["test"], evaluation.probabilities("test", "temperature")
    assert constant_answer(evaluation, "test", "temperature").lead <= 0
    assert frequencies_gain(p, test.labels).mean() > 0
    assert not beats_constant_answer(p, test.labels)
    assert export(run, Store(tmp_path / "store"), "shades").version == 1


def test_one_that_says_the_same_of_each_image_is_refused(trained: Path, tmp_path: Path) -> None:
    run = answering(trained, tmp_path, val=pair(-1.4, -1.4), test=pair(-1.4, -1.4))
    with pytest.raises(UselessModel):
        export(run, Store(tmp_path / "store"), "shades")
    assert export(run, Store(tmp_path / "store"), "shades", anyway=True).version == 1


def test_a_calibrator_that_test_contradicts_is_left_out(trained: Path, tmp_path: Path) -> None:
    wrong = np.float32([[2, -2], [2, -2], [-2, 2], [2, -2]])  # a quarter
    run = answering(trained, tmp_path, val=pair(2, -2), test=wrong, rare=0.5)
    store = Store(tmp_path / "store")
    for version, anyway in ((1, False), (2, True)):
        calibration = export(run, store, "shades", anyway=anyway).card.calibration
        assert calibration.contradicted.method == "temperature"
        assert calibration.applies(calibration.contradicted) is anyway
        assert (calibration.temperature < 1) is anyway
        text = (store.require("shades", version) / MODEL_CARD_FILE).read_text()
        assert "Test contradicts the calibrator" in text
