"""The drift detector against its plain formulas, and its promises on simulated streams."""

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calibration.drift.bets import edges
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState, LabelStream

SHIFTS = (0.1, 0.2, 0.4, 0.8, 1.6)
streams = st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=40)
classed = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 2)), min_size=1, max_size=60
)


class PlainDetector:
    """The same evidence by the textbook's formulas: for short streams only, since they overflow."""

    def __init__(
        self, tolerance: float, bins: int = 15, classes: int = 0, *, finding: bool = False
    ) -> None:
        self.tolerance, self.bins, self.finding = tolerance, bins, finding
        self.whole = {(side, d): 0.0 for side in (-1, 1) for d in SHIFTS}
        self.parts = [dict(self.whole) for _ in range(bins)]
        self.classes = [dict(self.whole) for _ in range(classes)]

    def update(self, p: float, correct: bool, predicted: int = 0) -> None:
        part = next(k for k in range(self.bins) if p <= (k + 1) / self.bins)
        for streams in [self.whole, self.parts[part], *self.classes[predicted : predicted + 1]]:
            for side, d in streams:
                streams[side, d] = self.bet(p, correct, side, d) * (streams[side, d] + 1)

    def bet(self, p: float, correct: bool, side: int, d: float) -> float:
        p = min(p, 1 - 1e-6) if side < 0 else max(p, 1e-6)
        if not 1e-12 < p < 1 - 1e-12:
            return (
                (math.exp(side * d) if p < 0.5 else 1.0)
                if correct
                else (1.0 if p < 0.5 else math.exp(-side * d))
            )
        z = math.log(p / (1 - p))
        rounded = min(math.floor(4 * abs(z) + 1e-9) / 4, 13.75)
        z += side * self.tolerance * (1 + (0 if self.finding else rounded**2))
        odds, shifted = math.exp(z), math.exp(z + side * d)
        chance, q = (odds, shifted) if correct else (1 / odds, 1 / shifted)
        return q * (1 + chance) / (chance * (1 + q))

    def mean(self, stream: dict[tuple[int, float], float]) -> float:
        doubled = sum(stream[side, d] for side in (-1, 1) for d in (0.4, 0.8) if self.finding)
        return (sum(stream.values()) + doubled) / (14 if self.finding else 10)

    @property
    def log_evalue(self) -> float:
        whole, bins, classes = (
            sum(map(self.mean, group)) for group in ([self.whole], self.parts, self.classes)
        )
        if self.finding:
            return math.log(3 * whole / 4 + bins / 4)
        return math.log(whole / 2 + (bins / 4 + classes / 4 if self.classes else bins / 2))


def calibrated_stream(
    seed: int, n: int, gap: float = 0.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Confidences of mean .82, right with probability p - gap."""
    rng = np.random.default_rng(seed)
    p = rng.beta(6, 1.3, n)
    return p, rng.random(n) < p - gap


@pytest.mark.parametrize("finding", [False, True])
@example([(p, right, 0) for p in (0.0, 1.0, 0.005, 0.995) for right in (True, False)], 0.01)
@given(classed, st.sampled_from([0.0, 0.01, 0.1]))
def test_evidence_is_that_of_the_plain_formulas(
    finding: bool, labels: list[tuple[float, bool, int]], tolerance: float
) -> None:
    """By predicted class too; about a finding, mostly of all its labels."""
    classes = 0 if finding else 3
    settings = DriftSettings(
        tolerance=tolerance, class_count=classes, class_wise=not finding, flat=finding
    )
    ours = DriftDetector(settings)
    plain = PlainDetector(tolerance, classes=classes, finding=finding)
    p, right, predicted = zip(*labels, strict=True)
    ours.update_many(p, right, None if finding else predicted)
    for label in labels:
        plain.update(*label)
    assert ours.log_evalue == pytest.approx(plain.log_evalue, abs=1e-6)
    assert math.exp(ours.log_evalue) == pytest.approx(ours.evidence.sum())


@given(classed, st.integers(1, 60), st.sampled_from([2.0, 20.0, 1e5]))
def test_in_bulk_and_one_by_one_end_in_the_same_state_to_the_bit(
    labels: list[tuple[float, bool, int]], cut: int, average_run_length: float
) -> None:
    settings = DriftSettings(average_run_length=average_run_length, class_count=3)
    single, parts, bulk = (DriftDetector(settings) for _ in range(3))
    raised = [index for index, label in enumerate(labels) if single.update(*label)]
    for part in filter(None, (labels[:cut], labels[cut:])):
        parts.update_many(*zip(*part, strict=True))
    assert bulk.update_many(*zip(*labels, strict=True)) == next(iter(raised), None)
    states = [each.state.as_dict() for each in (single, parts, bulk)]
    assert all(each == states[0] for each in states)


@pytest.mark.slow
def test_longer_than_a_chunk_is_no_other_than_one_by_one() -> None:
    settings = DriftSettings(class_count=2)
    p, right = map(
        np.concatenate,
        zip(calibrated_stream(3, 2300), calibrated_stream(4, 700, gap=0.2), strict=True),
    )
    predicted = np.arange(3000) % 7 % 2
    single, bulk = DriftDetector(settings), DriftDetector(settings)
    raised = [i for i in range(3000) if single.update(p[i], right[i], predicted[i])]
    assert [bulk.update_many(p, right, predicted)] == raised
    assert raised[0] > 2048  # the alarm is found in a later chunk, and latched through the rest
    assert single.state.as_dict() == bulk.state.as_dict()


def opposed_classes(
    seed: int, n: int, gap: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], list[int]]:
    """Calibrated on average; overconfident in class 0, as much underconfident in class 1."""
    rng = np.random.default_rng(seed)
    p, predicted = rng.uniform(0.5, 0.9, n), rng.integers(0, 2, n)
    return p, rng.random(n) < p - gap * (1 - 2 * predicted), predicted.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.05, 0.10])
def test_calibrated_on_average_but_by_no_class_is_an_alarm_of_the_class_wise_watch_alone(
    gap: float,
) -> None:
    for seed in range(6):
        p, right, predicted = opposed_classes(seed, 20_000, gap)
        class_wise = DriftDetector(DriftSettings(class_count=2))
        assert class_wise.update_many(p, right, predicted) is not None
        assert class_wise.stream.kind == "class"
        assert class_wise.direction == ("over" if class_wise.stream.index == 0 else "under")
        top_label = DriftDetector(DriftSettings(class_wise=False))
        assert top_label.update_many(p[:10_000], right[:10_000]) is None


def test_the_bin_that_raised_the_alarm_is_named() -> None:
    """Three bins are hit, one badly and one the other way round."""
    rng = np.random.default_rng(1)
    p = rng.choice([0.63, 0.83, 0.97], 3000)
    right = rng.random(3000) < p + 0.2 * (p == 0.63) - 0.05 * (p == 0.83)
    detector = DriftDetector(DriftSettings())
    assert detector.update_many(p, right) is not None
    assert (detector.stream, detector.direction) == (LabelStream("bin", 9), "under")
    assert detector.evidence.shape == (16, 2)
    assert np.log(detector.evidence.sum()) == pytest.approx(detector.log_evalue)


@pytest.mark.parametrize("predicted", [None, [0], [0, 3], [-1, 0]])
def test_a_label_without_a_known_class_is_refused_and_leaves_no_trace(
    predicted: list[int] | None,
) -> None:
    detector = DriftDetector(DriftSettings(class_count=3))
    with pytest.raises(ValueError, match=r"2 classes in 0\.\.2"):
        detector.update_many([0.7, 0.8], [True, False], predicted)
    assert detector.labels == 0


def test_other_settings_keep_what_is_still_evidence() -> None:
    labels = (*calibrated_stream(1, 50, gap=0.2), np.arange(50) % 2)
    old = DriftDetector(DriftSettings(average_run_length=5, class_count=2))
    old.update_many(*labels)
    looser = old.with_settings(DriftSettings(tolerance=0.05, class_count=2))
    assert np.array_equal(looser.state.m, old.state.m)
    assert (looser.active, looser.labels, looser.stream) == (True, 50, old.stream)
    grown = old.with_settings(DriftSettings(class_count=4))
    assert np.array_equal(grown.state.m[:16], old.state.m[:16])
    assert not grown.state.m[16:].any()
    audited = old.with_settings(DriftSettings(class_count=2, audit=True))
    assert (audited.log_evalue, audited.active) == (-math.inf, True)
    looser.update_many(*labels)
    assert old.labels == 50  # the old one is not touched


@given(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.01, 0.2]), st.floats(-1.0, 1.0))
def test_no_bet_gains_while_the_claim_holds(p: float, tolerance: float, where: float) -> None:
    """E[M after one label] <= 1 for each side and shift, at any accuracy in the tolerance."""
    least, most = edges(np.array([p]), tolerance)[0].tolist()
    accuracy = p + where * (most - p if where > 0 else p - least)
    expected = np.zeros((2, 5))
    for correct, chance in ((True, accuracy), (False, 1 - accuracy)):
        detector = DriftDetector(DriftSettings(tolerance=tolerance))
        detector.update(p, correct)
        expected += chance * detector.state.m[0]
    assert np.all(expected <= 1 + 1e-9)


def test_a_stream_within_the_tolerance_raises_no_alarm() -> None:
    for seed in range(4):
        for gap in [0.0, 0.01, -0.01]:
            detector = DriftDetector(DriftSettings())
            assert detector.update_many(*calibrated_stream(seed, 3000, gap)) is None
            assert detector.labels == 3000


def test_the_mean_run_between_false_alarms_keeps_its_promise() -> None:
    """ARL 40 on calibrated streams: labels to the first alarm of each stream."""
    runs = []
    for seed in range(120):
        detector = DriftDetector(DriftSettings(average_run_length=40, tolerance=0))
        alarm = detector.update_many(*calibrated_stream(seed, 400))
        runs.append(400 if alarm is None else alarm + 1)  # cut short, which only lowers the mean
    assert np.mean(runs) >= 40


@given(streams, streams)
def test_a_state_through_json_goes_on_bit_by_bit(
    first: list[tuple[float, bool]], second: list[tuple[float, bool]]
) -> None:
    settings = DriftSettings(average_run_length=30)
    through = DriftDetector(settings)
    through.update_many(*zip(*first, strict=True))
    data = json.loads(json.dumps(through.state.as_dict(), allow_nan=False))
    again = DriftDetector(settings, DriftState.from_dict(data))
    assert np.array_equal(again.state.m, through.state.m)
    alarms = [each.update_many(*zip(*second, strict=True)) for each in (again, through)]
    assert alarms[0] == alarms[1]
    assert again.state.as_dict() == through.state.as_dict()


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 2.5, math.nan])
def test_a_confidence_that_is_none_is_refused_and_leaves_no_trace(wrong: float) -> None:
    detector = DriftDetector(DriftSettings())
    detector.update(0.7, True)
    before = detector.state.as_dict()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        detector.update(wrong, True)
    assert detector.state.as_dict() == before


def test_settings_that_promise_nothing_are_refused() -> None:
    for wrong in [
        {"average_run_length": 1},
        {"average_run_length": math.nan},
        {"tolerance": -0.01},
        {"tolerance": 1.5},
    ]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DriftSettings(**wrong)


def test_long_streams_neither_overflow_nor_underflow() -> None:
    detector = DriftDetector(DriftSettings())
    detector.update_many([0.999] * 3000, [False] * 3000)
    assert np.isfinite(detector.log_evalue)
    detector.reset()
    detector.update_many([0.5] * 3000, [True, False] * 1500)
    assert (detector.state.m[0] > 0).all()
