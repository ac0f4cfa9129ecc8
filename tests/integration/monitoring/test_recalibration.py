import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from calibration.calibrators.temperature import softmax
from calibration.measures.metrics import ece
from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibration_card import ConformalCard, Referral
from model_store.bundle.card import Card, InputReference
from model_store.bundle.probing import problem_here
from model_store.errors import NotInStore
from model_store.store.changes import retire
from model_store.store.store import Store
from monitoring.drift.source_change import change_sources
from monitoring.errors import RecalibrationRefused
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.recalibration import (
    AnswerFilter,
    Recalibration,
    labeled_answers,
    recalibrate,
)
from monitoring.sources import LabelPolicy
from tests.builders.answers import NOW_NS, SECOND_NS, draw, row_of
from tests.builders.monitored import Clock, MonitoredModel

TOO_SURE = 2.0  # the temperature by which the served probabilities are too sharp
N = 1_500


@pytest.fixture
def store(tiny_store: Store) -> Store:
    return tiny_store


def serve(
    monitored: MonitoredModel,
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    labeled: np.ndarray | None = None,
    first: int = 0,
    audit: float | None = None,
    patients: Sequence[int] | None = None,
) -> list[PredictionRow]:
    """Serve answers (N, K); label those that are `labeled`, or all, with `truth` (N,)."""
    rows = [row_of(first + number, p, audit=audit) for number, p in enumerate(probabilities)]
    if patients is not None:
        hashed = [monitored.recorder.patients.hash(str(who)) for who in patients]
        rows = [each._replace(patient=who) for each, who in zip(rows, hashed, strict=True)]
    monitored.serve(*rows)
    chosen = range(len(rows)) if labeled is None else np.flatnonzero(labeled)
    names = monitored.card.classes
    monitored.label(*(FeedbackItem(names[truth[n]], rows[n].prediction_id) for n in chosen))
    return rows


@pytest.fixture
def fresh(tmp_path: Path, clock: Clock, store: Store) -> Iterator[MonitoredModel]:
    """A ledger in which version 1 has not answered yet."""
    with MonitoredModel(tmp_path / "fresh.db", clock, card=store.read("tiny").card) as monitored:
        yield monitored


@pytest.fixture(scope="module")
def ledger(published_once: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `served` copies."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 3.0, (N, 3))
    truth = draw(rng, softmax(honest))
    path, card = tmp_path_factory.mktemp("served") / "ledger.db", published_once.read("tiny").card
    with MonitoredModel(path, Clock(), card=card) as monitored:
        serve(monitored, softmax(TOO_SURE * honest), truth)
    return path


@pytest.fixture
def served(ledger: Path, tmp_path: Path, clock: Clock, store: Store) -> Iterator[MonitoredModel]:
    """1,500 labeled answers of version 1, honest at twice its temperature."""
    path, card = shutil.copy(ledger, tmp_path), store.read("tiny").card
    with MonitoredModel(Path(path), clock, card=card) as monitored:
        yield monitored


def recalibrated(
    store: Store,
    folder: Path,
    card: Card,
    probabilities: np.ndarray,
    truth: np.ndarray,
    **options: Any,
) -> Recalibration:
    """Recalibrate on a ledger in which the version of `card` gave these answers."""
    with MonitoredModel(folder / f"{card.version}.db", Clock(), card=card) as monitored:
        serve(monitored, probabilities, truth)
        return recalibrate(monitored.ledger, store, card.name, version=card.version, **options)


def test_the_temperature_that_was_missing_is_found_and_published(
    served: MonitoredModel, store: Store
) -> None:
    preview = recalibrate(served.ledger, store, "tiny", publish=False)
    assert store.versions("tiny") == [1]
    done = recalibrate(served.ledger, store, "tiny")
    said, published = ({**each.as_dict(), "card": None} for each in (preview, done))
    assert json.dumps(said) == json.dumps(published)
    assert preview.card.calibration == done.card.calibration
    assert done.proposal.remedy == "temperature"
    assert done.old_temperature == 1.5
    assert done.new_temperature == pytest.approx(1.5 * TOO_SURE, rel=0.08)
    assert (done.parent_version, done.labels) == (1, N)
    assert (done.proposal.fitted_on, done.proposal.held_out) == (N * 3 / 5, N * 2 / 5)
    assert done.after.ece < done.before.ece / 2
    assert done.after.accuracy == done.before.accuracy  # only confidence moves
    assert done.proposal.changed == 0
    bundle = store.read("tiny", 2)  # verified: hashes, graph, temperature against the card
    assert bundle.card == done.card
    assert bundle.card.calibration.temperature == done.new_temperature
    assert bundle.card.calibration.class_bias is None
    assert (
        bundle.card.calibration.reference_split
        == "ledger: 600 held out of 1500 labeled answers of version 1"
    )
    assert ece(bundle.card.calibration.sums) == pytest.approx(done.after.ece)
    assert bundle.card.provenance.parent_version == 1
    assert bundle.card.classes == served.card.classes
    assert problem_here(bundle) is None
    assert bundle.probes is not None
    assert (bundle.trained_on is None) == (store.read("tiny", 1).trained_on is None)
    assert store.production("tiny") == 1  # promoting is somebody's decision
    for version, error in ((2, RecalibrationRefused), (9, NotInStore)):  # 2 has not served
        with pytest.raises(error, match=f"version {version}"):
            recalibrate(served.ledger, store, "tiny", version=version)


def test_errors_of_opposite_sign_by_class_need_a_bias_and_the_graph_gets_it(
    fresh: MonitoredModel, store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    bundle = store.read("tiny", 1)
    images = rng.integers(0, 256, (900, 3, 8, 8), dtype=np.uint8)
    probabilities = infer(bundle.onnx, images)
    bias = np.array([0.9, -0.9, 0.0])
    serve(fresh, probabilities, draw(rng, softmax(0.6 * np.log(probabilities) + bias)))
    careful = recalibrate(fresh.ledger, store, "tiny", publish=False).proposal
    assert (careful.remedy, careful.choice.better, careful.changed) == (
        "temperature",
        "temperature_bias",
        0,
    )
    done = recalibrate(fresh.ledger, store, "tiny", allow_label_changes=True)
    assert done.proposal.remedy == "temperature_bias"
    assert done.card.calibration.class_bias == pytest.approx(bias, abs=0.35)
    assert done.proposal.changed > 0
    assert done.after.accuracy > done.before.accuracy
    after = infer(store.read("tiny", 2).onnx, images)
    np.testing.assert_allclose(after, done.proposal.affine(np.log(probabilities)), atol=1e-5)

    # The same once more, on the answers of the new version: bias and temperature continue those in
    # the graph.
    truth = draw(rng, softmax(1.5 * np.log(after) - bias))
    second = recalibrated(store, tmp_path, done.card, after, truth, allow_label_changes=True)
    np.testing.assert_allclose(
        infer(store.read("tiny", 3).onnx, images), second.proposal.affine(np.log(after)), atol=1e-5
    )


def test_a_temperature_that_makes_a_class_worse_is_refused(
    fresh: MonitoredModel, store: Store
) -> None:
    """ "benign" is underconfident, "malignant" overconfident; so is the average."""
    rng = np.random.default_rng(12)
    said = np.repeat([0, 1, 2], (600, 1200, 400))
    confidence = np.array([0.75, 0.95, 0.9])[said] + rng.uniform(-0.02, 0.02, 2200)
    right = rng.random(2200) < np.array([0.97, 0.8, 0.9])[said]
    other = np.array([1, 0, 0])[said]
    probabilities = np.full((2200, 3), 0.005)
    probabilities[np.arange(2200), said] = confidence
    probabilities[np.arange(2200), other] = 0.995 - confidence
    serve(fresh, probabilities, np.where(right, said, other))
    with pytest.raises(RecalibrationRefused, match="largest error of a class"):
        recalibrate(fresh.ledger, store, "tiny")
    assert store.versions("tiny") == [1]


def test_the_next_card_says_where_its_calibrator_comes_from(store: Store, tmp_path: Path) -> None:
    """An exported vector stays."""
    calibration = store.read("tiny", 1).card.calibration.model_copy(update={"method": "vector"})
    card = republished(store, calibration=calibration)
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (N, 3))
    truth = draw(rng, softmax(logits))
    done = recalibrated(store, tmp_path, card, softmax(TOO_SURE * logits), truth)
    assert done.card.calibration.method == "vector"


def test_labels_of_unsure_answers_alone_are_refused_unless_accepted(
    fresh: MonitoredModel, store: Store
) -> None:
    rng = np.random.default_rng(5)
    probabilities = softmax(rng.normal(0, 3, (2000, 3)))
    unsure = probabilities.max(axis=1) < 0.8
    serve(fresh, probabilities, draw(rng, softmax(0.4 * np.log(probabilities))), labeled=unsure)
    with pytest.raises(RecalibrationRefused, match=r" 100\.0 % .* 0\.0 % .*CANDOR_AUDIT_SHARE"):
        recalibrate(fresh.ledger, store, "tiny")
    assert recalibrate(fresh.ledger, store, "tiny", chosen_labels=True).labels == unsure.sum()


def test_an_audit_decides_where_there_is_one(fresh: MonitoredModel, store: Store) -> None:
    """Complaints ask for a large temperature; the audit says that nothing is wrong."""
    rng = np.random.default_rng(6)
    probabilities = softmax(rng.normal(0, 2, (4000, 3)))
    truth = draw(rng, probabilities)
    wrong = truth != probabilities.argmax(axis=1)
    serve(
        fresh,
        probabilities[:3000],
        truth[:3000],
        labeled=rng.random(3000) < np.where(wrong[:3000], 0.5, 0.05),
    )
    complained = recalibrate(fresh.ledger, store, "tiny", chosen_labels=True, publish=False)
    assert complained.new_temperature > 2 * complained.old_temperature
    serve(fresh, probabilities[3000:], truth[3000:], first=3000, audit=0.25)
    with pytest.raises(RecalibrationRefused, match="No remedy improves"):
        recalibrate(fresh.ledger, store, "tiny", chosen_labels=True)


def test_an_audit_whose_missing_labels_can_explain_the_error_is_not_published(
    fresh: MonitoredModel, store: Store
) -> None:
    """A perfect model; six in ten of its wrong answers have no label."""
    rng = np.random.default_rng(9)
    probabilities = softmax(rng.normal(0, 2, (1200, 3)))
    truth = draw(rng, probabilities)
    right = truth == probabilities.argmax(axis=1)
    serve(fresh, probabilities, truth, labeled=right | (rng.random(1200) < 0.4), audit=0.25)
    draft = recalibrate(fresh.ledger, store, "tiny", publish=False)
    assert 0.8 < draft.coverage < 0.9
    # sharper, because wrong answers are missing
    assert draft.new_temperature < draft.old_temperature
    with pytest.raises(RecalibrationRefused, match="audit have a label"):
        recalibrate(fresh.ledger, store, "tiny")


def test_patients_are_not_divided_between_fit_and_measurement(
    fresh: MonitoredModel, store: Store
) -> None:
    rng = np.random.default_rng(7)
    logits = np.repeat(rng.normal(0, 3, (100, 3)), 5, axis=0)
    truth = np.repeat(draw(rng, softmax(logits[::5] / TOO_SURE)), 5)
    serve(fresh, softmax(logits), truth, patients=np.repeat(np.arange(100), 5).tolist())
    done = recalibrate(fresh.ledger, store, "tiny")
    assert (done.proposal.fitted_on, done.proposal.held_out) == (300, 200)
    held_out = {tuple(each) for each in done.proposal.served.round(6).tolist()}
    assert len(held_out) == 40  # whole patients


def test_the_referral_promise_is_kept_at_a_new_threshold_or_dropped_with_a_word(
    served: MonitoredModel, store: Store, tmp_path: Path
) -> None:
    old, done = served.card.referral, recalibrate(served.ledger, store, "tiny")
    new = done.card.referral
    assert (new.promised_accuracy, new.delta) == (old.promised_accuracy, old.delta)
    assert done.dropped == ()
    strict = Referral(threshold=0.9, promised_accuracy=0.999, delta=0.05, coverage=0.5)
    logits = np.random.default_rng(9).normal(0, 3, (500, 3))
    truth = draw(np.random.default_rng(9), softmax(logits))
    dropped = []
    for referral in (strict, None):
        promised = republished(store, referral=referral)
        few = recalibrated(store, tmp_path, promised, softmax(TOO_SURE * logits), truth)
        assert few.card.referral is None  # 200 answers cannot certify 99.9 %
        dropped.append(few.dropped)
        retire(store, "tiny", few.card.version)
    assert "200 held-out labels" in dropped[0][0]
    assert dropped[1] == ()


def test_prediction_sets_hold_their_promise_on_answers_of_the_same_kind(
    store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)
    sets = ConformalCard(alpha=0.2, threshold=0.9, mean_set_size=1, coverage_reference=0.5)
    inputs = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
    promised = republished(store, conformal=sets, input_reference=inputs)
    logits = rng.normal(0, 3, (N, 3))
    truth = draw(rng, softmax(logits))
    done = recalibrated(store, tmp_path, promised, softmax(TOO_SURE * logits), truth)
    assert done.card.conformal.alpha == 0.2
    assert done.card.input_reference == inputs  # the images are no others
    more = rng.normal(0, 3, (20_000, 3))
    after = done.proposal.affine(TOO_SURE * more)
    covered = after[np.arange(len(more)), draw(rng, softmax(more))] >= done.card.conformal.threshold
    assert covered.mean() == pytest.approx(0.8, abs=0.05)


def republished(store: Store, **changes: Any) -> Card:
    """Publish version 1 of "tiny" again with other fields in its card."""
    parent = store.read("tiny", 1)
    card = parent.card.model_copy(update=changes | {"files": {}})
    version = store.publish(
        "tiny",
        lambda folder, number: write_bundle(
            folder, card=card.model_copy(update={"version": number}), onnx=parent.onnx
        ),
    )
    return store.read("tiny", version).card


def test_proxies_are_not_fitted_on(served: MonitoredModel, store: Store) -> None:
    certain = row_of(N, [1, 0, 0])  # a probability of zero is no obstacle
    served.serve(certain)
    served.label(FeedbackItem("malignant", certain.prediction_id))
    options: dict[str, Any] = {"publish": False, "chosen_labels": True}
    before = recalibrate(served.ledger, store, "tiny", **options).proposal
    extra = softmax(np.random.default_rng(1).normal(0, 3, (300, 3)))
    rows = serve(served, extra, np.zeros(300, int), first=5_000, labeled=np.zeros(300, bool))
    change_sources(served.ledger, "tiny", {"report": LabelPolicy.PROXY})
    wrong = served.card.classes[0]
    served.label(*(FeedbackItem(wrong, row.prediction_id, source="report") for row in rows))
    after = recalibrate(served.ledger, store, "tiny", **options).proposal
    assert (after.labels, after.aside, after.affine) == (before.labels, 300, before.affine)
    assert (before.labels, np.isfinite(before.affine.weight).all()) == (N + 1, True)


def infer(model: bytes, images: np.ndarray) -> np.ndarray:
    """Return probabilities (N, K) of ONNX Runtime, in float64."""
    found: np.ndarray = ort.InferenceSession(model).run(["probabilities"], {"image": images})[0]
    return found.astype(np.float64)


def test_answers_are_selected_by_time_number_and_id_with_the_labels_that_hold_now(
    served: MonitoredModel,
) -> None:
    ordered = "SELECT prediction_id FROM prediction ORDER BY served_at_ns"
    ids = [key for (key,) in served.rows(ordered)]
    served.label(*(FeedbackItem("benign", key) for key in ids[:300]))  # corrections
    early, since_ns = frozenset(ids[:300]), NOW_NS + 200 * SECOND_NS
    with served.ledger.read() as connection:
        for answer_filter, count in (
            (AnswerFilter(since_ns=NOW_NS + 1_400 * SECOND_NS), 100),
            (AnswerFilter(last=250), 250),
            (AnswerFilter(prediction_ids=early, since_ns=since_ns, last=70), 70),
            (AnswerFilter(prediction_ids=early), 300),
        ):
            found = labeled_answers(connection, served.card, answer_filter)
            assert len(found.labels) == count
    assert (found.labels == 0).all()


def test_what_cannot_be_recalibrated_is_refused(
    served: MonitoredModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(message: str, **options: Any) -> None:
        with pytest.raises(RecalibrationRefused, match=message):
            recalibrate(served.ledger, store, "tiny", **options)

    few = r"Got 50 .* at least 100\. .*min_labels"
    refused(few, answer_filter=AnswerFilter(last=50), min_labels=100)
    refused("Got 0 ", answer_filter=AnswerFilter(prediction_ids=frozenset()), min_labels=1)
    refused("at least 20", answer_filter=AnswerFilter(last=0), min_labels=0)
    differs = "float32: its probabilities differ"
    with monkeypatch.context() as patch:
        patch.setattr("monitoring.recalibration.publication.problem_here", lambda _: differs)
        refused(differs)
    honest = softmax(np.random.default_rng(3).normal(0, 2, (600, 3)))
    truth = draw(np.random.default_rng(3), honest)
    serve(served, honest, truth, first=10_000)
    refused("No remedy improves", answer_filter=AnswerFilter(last=600))  # they are calibrated
    rng = np.random.default_rng(42)
    logits, biases = rng.normal(0, 2, (150, 3)), np.array([0.45, 0, -0.2])
    serve(served, softmax(logits), draw(rng, softmax(logits + biases)), first=15_000)
    refused("Only a richer remedy improves", answer_filter=AnswerFilter(last=150))
    serve(served, honest[:150], np.zeros(150, dtype=int), first=20_000)
    refused("'benign'", answer_filter=AnswerFilter(last=150))  # of one class
    assert store.versions("tiny") == [1]
