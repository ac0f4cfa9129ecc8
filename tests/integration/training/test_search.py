"""The search of the recipe `auto`: the best candidate is kept and resumed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.calibrators.temperature import apply_temperature
from tests.builders.datasets import shades
from training.datasets import Dataset
from training.errors import RunDiffers, TrainingDiverged
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig, read_record
from training.runs.recipe import TrainingPlan
from training.runs.run import RunResult, train

CHOICES: dict[str, Any] = {
    "backbone": SMALL,
    "weights": "none",
    "loss": "ce",
    "batch_size": 16,
    "image_size": 32,
}
CHOICES |= {"select": "val_nll", "epochs": 6, "head": "pooled"}


def candidate(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(CHOICES | changes)


HOPELESS, GOOD = candidate(learning_rate=1e-9), candidate(learning_rate=1e-2)
PLAN = TrainingPlan((HOPELESS, GOOD, candidate(learning_rate=1e-4)), ("three rates are tried",))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades()


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(PLAN, dataset, tmp_path_factory.mktemp("runs") / "run", pictures=False)


def test_the_candidate_with_the_lowest_cross_entropy_on_validation_is_kept(run: RunResult) -> None:
    assert run.record.config == GOOD
    recipe = run.record.recipe
    assert [each.choices for each in recipe.candidates] == [
        {"learning_rate": rate} for rate in (1e-9, 1e-2, 1e-4)
    ]
    assert [each.chosen for each in recipe.candidates] == [False, True, False]
    scores = [each.val_nll for each in recipe.candidates if each.val_nll is not None]
    assert scores[1] == min(scores)
    val = run.evaluation.predictions["val"]
    probabilities = apply_temperature(val.logits, run.evaluation.temperature)
    assert scores[1] == pytest.approx(
        -np.log(probabilities[np.arange(45), val.labels]).mean(), rel=1e-6
    )
    assert recipe.reasons == ("three rates are tried",)
    assert read_record(run.folder) == run.record


def test_an_interrupted_search_resumes_to_the_bit(
    run: RunResult, dataset: Dataset, tmp_path: Path
) -> None:
    """Once in the second candidate and once in the third."""
    out = tmp_path / "run"
    for candidate_number in (2, 3):

        def interrupt(
            stage: str, done: int, _total: int, /, at: int = candidate_number, **_: float
        ) -> None:
            if stage.startswith(f"candidate {at} of 3") and done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(PLAN, dataset, out, progress=interrupt, pictures=False)
        assert not out.exists()
    with pytest.raises(RunDiffers, match="candidates"):
        train(TrainingPlan((HOPELESS, GOOD), ("two",)), dataset, out)
    said: list[str] = []
    again = train(PLAN, dataset, out, pictures=False, notice=said.append)
    assert "was interrupted; resuming" in said[0]
    for name in ("checkpoint.safetensors", "history.csv", "metrics.json", "config.json"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes(), name
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_candidate_that_diverges_is_out(dataset: Dataset, tmp_path: Path) -> None:
    diverging = candidate(learning_rate=1e30)
    run = train(
        TrainingPlan((diverging, GOOD), ("two",)), dataset, tmp_path / "run", pictures=False
    )
    written = json.loads((run.folder / "config.json").read_text())["recipe"]["candidates"]
    assert [(each["val_nll"] is None, each["chosen"]) for each in written] == [
        (True, False),
        (False, True),
    ]
    with pytest.raises(TrainingDiverged):
        train(
            TrainingPlan((diverging, candidate(learning_rate=1e35)), ("two",)),
            dataset,
            tmp_path / "other",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
