"""A recalibration of a bundle with several precisions: on the labels of one, for that one."""

from pathlib import Path

import numpy as np
import pytest

from calibration.calibrators.temperature import softmax
from model_store.store.store import Store
from monitoring.errors import RecalibrationRefused
from monitoring.recalibration import recalibrate
from tests.builders.bundles import write_variants
from tests.builders.monitored import Clock, MonitoredModel
from tests.integration.monitoring.test_recalibration import TOO_SURE, draw, serve


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "models")
    made.publish("tiny", lambda folder, version: write_variants(folder, version))
    made.promote("tiny", 1)
    return made


def label_too_sure_answers(
    store: Store, tmp_path: Path, precision: str, clock: Clock
) -> MonitoredModel:
    """A ledger in which 1,500 answers of one precision were right less often than they said."""
    monitored = MonitoredModel(
        tmp_path / "ledger.db", clock, card=store.read("tiny", 1).card.of_variant(precision)
    )
    rng = np.random.default_rng(0)
    served = softmax(rng.normal(0, 2, (1_500, 3)))
    serve(monitored, served, draw(rng, softmax(np.log(served) / TOO_SURE)))
    return monitored


def test_a_recalibration_fits_the_precision_that_answered_and_has_only_that(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    monitored = label_too_sure_answers(store, tmp_path, "int8", clock)
    with pytest.raises(RecalibrationRefused, match="no answers of tiny version 1"):
        recalibrate(monitored.ledger, store, "tiny", precision="float32")
    with pytest.raises(RecalibrationRefused, match="has no int4; it has float32, int8"):
        recalibrate(monitored.ledger, store, "tiny", precision="int4")
    done = recalibrate(monitored.ledger, store, "tiny")
    made = store.read("tiny", 2)
    assert made.card.precisions == ("int8",)
    assert made.variants == {}
    assert made.card.calibration.temperature == pytest.approx(
        3.0 * 2.0, rel=0.15
    )  # the variant's, not the card's 1.5
    assert "float32" in done.dropped[-1]
    assert made.card.dropped_promises is not None


def test_of_float32_the_result_is_float32(store: Store, tmp_path: Path, clock: Clock) -> None:
    monitored = label_too_sure_answers(store, tmp_path, "float32", clock)
    recalibrate(monitored.ledger, store, "tiny")
    card = store.read("tiny", 2).card
    assert card.precisions == ("float32",)
    assert card.calibration.temperature == pytest.approx(1.5 * 2.0, rel=0.15)
