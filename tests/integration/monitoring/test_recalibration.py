from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from calibration.measures import Measures
from calibration.metrics import ece
from calibration.temperature import softmax
from model_store.bundle import Bundle
from model_store.card import ConformalCard, InputReference
from model_store.errors import NotInStore
from model_store.store import Store
from monitoring.errors import RecalibrationRefused
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.recalibration import AnswerFilter, _recalibrated, recalibrate
from tests.builders.answers import NOW_NS, SECOND_NS, make_card
from tests.builders.monitored import Clock, MonitoredModel

TOO_SURE = 2.0  # the temperature by which the served probabilities are too sharp
N = 1_500


@pytest.fixture
def store(tmp_path: Path, make_bundle: Callable[..., Bundle]) -> Store:
    store = Store(tmp_path / "store")
    store.publish("tiny", lambda folder, version: make_bundle(folder, version, name="tiny"))
    store.promote("tiny", 1)
    return store


@pytest.fixture
def served(tmp_path: Path, clock: Clock, store: Store) -> Iterator[MonitoredModel]:
    """1,500 labeled answers of version 1, whose logits would have been honest at twice its temperature."""
    monitored = MonitoredModel(tmp_path / "ledger.db", clock, card=store.read("tiny").card)
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 3.0, (N, 3))
    truth = (softmax(honest).cumsum(axis=1) > rng.random((N, 1))).argmax(axis=1)
    probabilities = softmax(TOO_SURE * honest).astype("<f4")
    rows = [row(number, probabilities[number]) for number in range(N)]
    monitored.serve(*rows)
    names = [monitored.card.classes[index] for index in truth]
    monitored.label(*(FeedbackItem(name, row.prediction_id) for name, row in zip(names, rows, strict=True)))
    yield monitored
    monitored.close()


def row(number: int, probabilities: np.ndarray) -> PredictionRow:
    best = int(probabilities.argmax())
    confidence = float(probabilities[best])
    served_at = NOW_NS + number * SECOND_NS
    return PredictionRow(uuid4().bytes, 1, None, best, confidence, probabilities.tobytes(), served_at)


def test_the_temperature_that_was_missing_is_found_and_published(served: MonitoredModel, store: Store) -> None:
    done = recalibrate(served.ledger, store, "tiny")
    assert done.old_temperature == 1.5
    assert done.new_temperature == pytest.approx(1.5 * TOO_SURE, rel=0.08)
    assert (done.parent_version, done.labels) == (1, N)
    assert done.after.ece < done.before.ece / 3
    assert done.after.accuracy == done.before.accuracy  # only confidence moves
    bundle = store.read("tiny", 2)  # verified: hashes, graph, temperature against the card
    assert bundle.card == done.card
    assert bundle.card.calibration.temperature == done.new_temperature
    assert bundle.card.calibration.reference_split == f"ledger: {N} labeled answers of version 1"
    assert ece(bundle.card.calibration.sums) == pytest.approx(done.after.ece)
    assert bundle.card.provenance.parent_version == 1
    assert bundle.card.classes == served.card.classes
    assert store.production("tiny") == 1  # promoting is somebody's decision


def test_the_referral_promise_is_kept_at_a_new_threshold_or_dropped(served: MonitoredModel, store: Store) -> None:
    old, new = served.card.referral, recalibrate(served.ledger, store, "tiny").card.referral
    assert old is not None
    assert new is not None
    assert (new.promised_accuracy, new.delta) == (old.promised_accuracy, old.delta)
    few = recalibrate(served.ledger, store, "tiny", version=1, answer_filter=AnswerFilter(last=20), min_labels=20)
    assert few.card.referral is None  # twenty answers certify nothing


def test_prediction_sets_get_their_new_threshold_and_the_calibrator_its_name() -> None:
    sets = ConformalCard(alpha=0.2, threshold=0.9, mean_set_size=1, coverage_reference=0.5)
    inputs = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
    card = make_card().model_copy(update={"conformal": sets, "input_reference": inputs})
    card = card.model_copy(update={"calibration": card.calibration.model_copy(update={"method": "vector"})})
    p, y = np.tile([[0.6, 0.4], [0.3, 0.7]], (50, 1)), np.tile([0, 0], 50)
    new = _recalibrated(card, 2.0, p, y, Measures.from_probabilities(p, y))
    assert new.conformal is not None
    assert (new.conformal.alpha, new.conformal.threshold, new.conformal.coverage_reference) == (0.2, 0.3, 1)
    assert new.calibration.method == "vector"
    assert new.input_reference == inputs  # the images are no others
    assert _recalibrated(make_card(), 2.0, p, y, Measures.from_probabilities(p, y)).conformal is None


def test_a_card_without_a_threshold_gets_none(tmp_path: Path, clock: Clock, make_bundle: Callable[..., Bundle]) -> None:
    store = Store(tmp_path / "bare")
    store.publish("bare", lambda folder, version: make_bundle(folder, version, name="bare", threshold=None))
    with MonitoredModel(tmp_path / "bare.db", clock, card=store.read("bare", 1).card) as monitored:
        monitored.serve(row(1, np.array([0.7, 0.2, 0.1], dtype="<f4")))
        with monitored.ledger.read() as connection:
            ids = connection.exec_driver_sql("SELECT prediction_id FROM prediction").scalars().all()
        monitored.label(FeedbackItem("benign", ids[0]))
        assert recalibrate(monitored.ledger, store, "bare", version=1, min_labels=1).card.referral is None


def test_answers_are_selected_by_time_number_and_id(served: MonitoredModel, store: Store) -> None:
    ids = [key for (key,) in served.rows("SELECT prediction_id FROM prediction ORDER BY served_at_ns")]

    def labels(answer_filter: AnswerFilter) -> int:
        return recalibrate(served.ledger, store, "tiny", version=1, answer_filter=answer_filter, min_labels=1).labels

    assert labels(AnswerFilter(since_ns=NOW_NS + 1_400 * SECOND_NS)) == 100
    assert labels(AnswerFilter(last=250)) == 250
    assert labels(AnswerFilter(prediction_ids=frozenset(ids[:300]))) == 300
    assert labels(AnswerFilter(prediction_ids=set(ids[:300]), since_ns=NOW_NS + 200 * SECOND_NS, last=70)) == 70


def test_the_labels_are_those_that_hold_now(served: MonitoredModel, store: Store) -> None:
    ids = [key for (key,) in served.rows("SELECT prediction_id FROM prediction")]
    served.label(*(FeedbackItem("benign", key) for key in ids))  # corrections, most of them wrong
    done = recalibrate(served.ledger, store, "tiny")
    assert done.before.accuracy < 0.5


def test_a_probability_of_zero_is_no_obstacle(served: MonitoredModel, store: Store) -> None:
    certain = row(N, np.array([1, 0, 0], dtype="<f4"))
    served.serve(certain)
    served.label(FeedbackItem("malignant", certain.prediction_id))
    assert np.isfinite(recalibrate(served.ledger, store, "tiny").new_temperature)


@pytest.mark.parametrize(
    ("answer_filter", "min_labels", "sentence"),
    [
        (AnswerFilter(last=50), 100, "Got 50 labeled answers of tiny version 1; expected at least 100."),
        (AnswerFilter(prediction_ids=frozenset()), 1, "Got 0 labeled answers"),
        (AnswerFilter(last=0), 0, "Got 0 labeled answers of tiny version 1; expected at least 1."),
    ],
)
def test_too_few_labels_are_refused(
    served: MonitoredModel, store: Store, answer_filter: AnswerFilter, min_labels: int, sentence: str
) -> None:
    with pytest.raises(RecalibrationRefused, match=sentence):
        recalibrate(served.ledger, store, "tiny", answer_filter=answer_filter, min_labels=min_labels)
    assert store.versions("tiny") == [1]


def test_a_version_that_never_served_is_refused(served: MonitoredModel, store: Store) -> None:
    published = recalibrate(served.ledger, store, "tiny").card.version
    with pytest.raises(RecalibrationRefused, match=f"no answers of tiny version {published}"):
        recalibrate(served.ledger, store, "tiny", version=published)
    with pytest.raises(NotInStore):
        recalibrate(served.ledger, store, "tiny", version=9)
