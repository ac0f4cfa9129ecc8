"""What no label speaks for, accuracy beside the card, which truth comes first, records, windows."""

import math
from typing import Any

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.diagnosis.answers import Tag
from calibration.diagnosis.facts import (
    AnswerGroup,
    Cause,
    Course,
    Deviation,
    Figures,
    Inference,
    Rival,
    RivalStatus,
    Since,
)
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from calibration.measures.estimates import IntervalEstimate
from monitoring.diagnosis.accuracy import LabeledDay, judge
from monitoring.diagnosis.answer_record import AnswerRecord
from monitoring.diagnosis.coverage import (
    DAY_S,
    Count,
    LabelCoverage,
    Rhythm,
    find_clock,
    find_unchecked,
    first_day,
    is_old,
    rhythm_of,
)
from monitoring.diagnosis.detectors import Drift, calm_evidence
from monitoring.diagnosis.facts import AccuracyAnswer, Alarm, Basis, State
from monitoring.diagnosis.state import Findings, decide
from monitoring.errors import QueryInvalid
from monitoring.feedback.discordance import Discordance, OtherLabels, SecondReadings
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.sums import LedgerSums
from monitoring.reports.page_data import window_since
from monitoring.reports.slices import Slice, measure_slices
from tests.builders.answers import NOW_NS


def bins(**counts: int) -> np.ndarray:
    """Answers by bin: `b14=3` is three with a confidence above 14/15."""
    found = np.zeros(15, dtype=np.int64)
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


def named(
    labels: np.ndarray, served: np.ndarray, recent: dict[str, Count] | None = None, **due: Count
) -> list[tuple[str, ...]]:
    whole = Count(int(served.sum()), int(labels.sum()))
    slices = {name.replace("__", ":").replace("_is_", "="): each for name, each in due.items()}
    coverage = LabelCoverage({"": whole} | slices, recent or {}, np.stack([served, labels]))
    return [(each.group.key, *each.group.values) for each in find_unchecked(coverage)]


def test_neighboring_bins_without_labels_are_one_range() -> None:
    served = bins(b8=500, b9=200, b12=200, b14=100)
    assert named(bins(b8=100, b9=50), served) == [("confidence", "0.80-1.00")]
    assert named(bins(b8=200, b14=40), bins(b8=500, b14=500)) == []


def test_kinds_with_few_labels_are_named_and_rare_ones_only_without_any() -> None:
    found = named(
        bins(b14=300),
        bins(b14=1000),
        predicted__a=Count(100, 5),
        predicted__b=Count(800, 280),
        predicted__c=Count(40, 2),
        tag__site_is_X=Count(25, 0),
        tag__site_is_Y=Count(10, 0),
        true__a=Count(500, 0),
    )
    assert found == [("predicted", "a"), ("tag:site", "X")]


def test_a_site_whose_labels_ended_is_named() -> None:
    recent = {"": Count(200, 150), "tag:site=X": Count(50, 0)}
    site = Count(500, 200)
    assert named(bins(b14=700), bins(b14=1000), recent, tag__site_is_X=site) == [("tag:site", "X")]


def test_missing_labels_move_the_gap_between_their_worst_cases() -> None:
    """8 of 10 answers of confidence .9 have a label, 7 of them right: the gap is .9 - 7/8."""
    count = Count(10, 8, 9.0, 7.2, 7.0)
    hidden = LabelCoverage({"": count}, {}, np.zeros((2, 15))).hidden(audit=False)
    assert hidden.estimate == pytest.approx(0.025)
    assert (hidden.lower, hidden.upper) == pytest.approx((0.0, 0.2))


def test_the_usual_pause_and_delay_say_what_is_long() -> None:
    days = np.arange(60) * DAY_S
    daily = rhythm_of(days, days + 2 * DAY_S, days)
    assert (daily.labels_s, daily.answers_s, daily.delay_s) == (14 * DAY_S, 28 * DAY_S, 2 * DAY_S)
    monthly = rhythm_of(days, np.repeat(np.arange(1, 7) * 30, 10) * DAY_S, days)
    assert monthly.labels_s == 90 * DAY_S


def test_an_upload_of_all_labels_at_once_says_nothing_about_delays() -> None:
    days = np.arange(60) * DAY_S
    uploaded = rhythm_of(days, np.full(60, 100 * DAY_S), days)
    assert (uploaded.labels_s, uploaded.delay_s) == (14 * DAY_S, 0.0)


def test_without_labels_nothing_is_old() -> None:
    none = np.zeros(0)
    assert rhythm_of(none, none, none).delay_s == 0
    assert not is_old(math.nan, 1e9, DAY_S)
    assert is_old(0.0, 2 * DAY_S, DAY_S)


def labeled_daily() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When 3,000 answers were served and labeled, and of which of four devices they are."""
    rng = np.random.default_rng(0)
    came = np.sort(rng.uniform(0, 100, 3_000)) * DAY_S
    return came, came + rng.exponential(3, 3_000) * DAY_S, rng.integers(0, 4, 3_000)


@pytest.mark.parametrize("days", [25, -25])
def test_a_device_whose_clock_is_weeks_off_is_found(days: int) -> None:
    served, received, device = labeled_daily()
    tags = {"device": Tag(device, ("a", "b", "c", "d"))}
    assert find_clock(served, received, tags) is None
    found = find_clock(served - days * DAY_S * (device == 2), received, tags)
    assert found is not None
    assert found.group == AnswerGroup("tag:device", ("c",))
    assert found.behind_s == pytest.approx(days * DAY_S, abs=DAY_S)


def test_a_device_that_was_taken_away_has_no_wrong_clock() -> None:
    served, received, device = labeled_daily()
    kept = (device != 2) | (served < 70 * DAY_S)
    tags = {"device": Tag(device[kept], ("a", "b", "c", "d"))}
    assert find_clock(served[kept], received[kept], tags) is None


def test_windows_that_cannot_be_are_refused() -> None:
    for window in ("", "day", "days", "days:0", "days:10001", "days:1e3", "1 day", "last:500"):
        with pytest.raises(QueryInvalid):
            first_day(window, now_ns=0)
    assert first_day("days:30", now_ns=1_000 * DAY_NS) == 971


def test_a_beginning_that_cannot_be_is_refused() -> None:
    for text in ["30", "d", "0d", "99999d", "2026-13-01", "tomorrow", "2030-01-01", "", "1" * 500]:
        with pytest.raises(QueryInvalid):
            window_since(text, now_ns=NOW_NS)


def record(**changes: Any) -> AnswerRecord:
    values: dict[str, Any] = {
        "predicted": "pneumonia",
        "confidence": 0.91,
        "lower": 13 / 15,
        "upper": 14 / 15,
        "served": 204,
        "labeled": 51,
        "right": 40,
        "mean_confidence": 0.905,
        "since": "2026-10-01",
        "alarm": False,
    }
    return AnswerRecord(**(values | changes))


def test_enough_labels_or_an_alarm_make_a_confidence_doubtful() -> None:
    for changes, is_doubtful in [
        ({}, True),  # right 78 times in 100
        ({"labeled": 60, "right": 55, "served": 60}, False),
        ({"labeled": 60, "right": 55, "alarm": True}, True),
        ({"labeled": 0, "right": 0, "mean_confidence": math.nan}, False),
        ({"labeled": 1, "right": 0}, False),
        ({"labeled": 29, "right": 0}, False),  # too few to say anything
        # With many labels the interval is narrower than the bin.
        (
            {"confidence": 0.932, "labeled": 100_000, "right": 90_000, "mean_confidence": 0.9},
            False,
        ),
    ]:
        found = record(**changes)
        assert found.is_doubtful is is_doubtful
        assert ("Do not rely" in found.sentences) is is_doubtful
        assert (" in 100" in found.sentences) is (found.labeled >= 30)


SURE = IntervalEstimate(0.1, 0.08, 0.12)
ALARM = Alarm(None, "over", 0.0, 1, 500, 12.0, 11.5)


def findings(
    *, score: float, label_age: float = 0.0, alarm: bool = False, cause: str = ""
) -> Findings:
    """An error that goes on; `cause` explains all of it; the newest label is so many days old."""
    now_s, until_s = 100 * DAY_S, (100 - label_age) * DAY_S
    error = Deviation(
        AnswerGroup("tag:site", ("B",)),
        score,
        Since(50 * DAY_S, 49 * DAY_S, 51 * DAY_S, 0.0),
        None,
        Course.STEP,
        Figures(200, 0.9, SURE, SURE),
        None,
    )
    rivals = (Rival(Cause(cause), RivalStatus.EXPLAINS_ALL),) if cause else ()
    return Findings(
        inference=Inference(1_000, 0.0, 1.0, SURE, (error,), rivals),
        lower=(),
        basis=Basis(1_200, 1_000, 1_000, 0, math.nan, 0.9, 0.0, now_s, until_s, until_s),
        rhythm=Rhythm(14 * DAY_S, 28 * DAY_S, DAY_S),
        alarms=(ALARM,) if alarm else (),
        unchecked=(),
        early_signs=(),
        other_labels=OtherLabels(
            (), SecondReadings(Discordance(0, 0, 0, 0, 1.0), 0, SURE), 0, True
        ),
        now_s=now_s,
    )


@pytest.mark.parametrize(
    ("score", "label_age", "state"),
    [(2.0, 28, State.STALE), (2.0, 1, State.LOOK), (9.0, 28, State.LOOK)],
)
def test_no_labels_for_weeks_outrank_a_guess(score: float, label_age: float, state: State) -> None:
    assert decide(findings(score=score, label_age=label_age))[0] is state


@pytest.mark.parametrize(
    ("cause", "state"), [("", State.ALARM), ("noise", State.LOOK), ("input", State.ALARM)]
)
def test_another_cause_that_explains_all_wakes_nobody(cause: str, state: State) -> None:
    """Images out of scope are an error all the same."""
    assert decide(findings(score=50.0, alarm=True, cause=cause))[0] is state


FIRST_DAY = 20_000


def reference(n: int = 1_000, accuracy: float = 0.82) -> BinSums:
    return BinSums.from_predictions(np.full(n, accuracy), np.arange(n) < round(n * accuracy))


def days(*right: tuple[int, float], labeled: float = 0.1) -> list[LabeledDay]:
    return [
        LabeledDay(FIRST_DAY + day, n, round(n * share), round(n / labeled))
        for day, (n, share) in enumerate(right)
    ]


@pytest.mark.parametrize(
    ("n", "accuracy", "answer"),
    [
        (400, 0.63, AccuracyAnswer.LOWER),
        (600, 0.95, AccuracyAnswer.HIGHER),
        (2_000, 0.82, AccuracyAnswer.AS_IT_WAS),
        (40, 0.7, AccuracyAnswer.UNKNOWN),
    ],
)
def test_the_answer(n: int, accuracy: float, answer: AccuracyAnswer) -> None:
    assert judge(days((n, accuracy)), reference())[0] is answer


def test_errors_times_four_are_not_as_it_was() -> None:
    """99.5 % on the card, 98 % now: close in points, not in odds."""
    card = reference(2_000, 0.995)
    assert judge(days((300, 0.98)), card)[0] is AccuracyAnswer.UNKNOWN
    assert judge(days((5_000, 0.98)), card)[0] is AccuracyAnswer.LOWER


def test_a_small_reference_leaves_it_open() -> None:
    assert judge(days((10_000, 0.82)), reference(50))[0] is AccuracyAnswer.UNKNOWN


def test_a_drop_after_a_long_good_time_is_found_and_dated() -> None:
    """30 good days of 300 labels, then three of 200: over all labels the mean has hardly moved."""
    answer, stretch = judge(days(*[(300, 0.82)] * 30, *[(200, 0.63)] * 3), reference())
    assert answer is AccuracyAnswer.LOWER
    assert (stretch.day, stretch.n) == (FIRST_DAY + 30, 600)


def test_without_labels_or_reference_nothing_is_claimed() -> None:
    assert judge([], reference())[0] is AccuracyAnswer.UNKNOWN
    assert judge(days((500, 0.5)), BinSums.zeros())[0] is AccuracyAnswer.UNKNOWN


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.82, 0.957])
def test_whoever_looks_every_day_is_misled_in_at_most_one_of_twenty_models(accuracy: float) -> None:
    """100 models as accurate as before, 100 days of 20 labels, a reference of 500 each."""
    rng, misled, models = np.random.default_rng(1), 0, 100
    for _ in range(models):
        card = BinSums.from_predictions(np.full(500, accuracy), rng.random(500) < accuracy)
        right = rng.binomial(20, accuracy, 100)
        seen = [LabeledDay(FIRST_DAY + day, 20, int(n), 20) for day, n in enumerate(right)]
        answers = {judge(seen[:day], card)[0] for day in range(5, 101, 5)}
        misled += bool(answers & {AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER})
    assert misled <= 0.05 * models


def drift(labels: int, log_threshold: float = 11.5) -> Drift:
    return Drift(
        log_evalue=5.0,
        log_threshold=log_threshold,
        active=False,
        direction=None,
        labels=labels,
        alarm_label=None,
        average_run_length=100_000,
        tolerance=0.01,
    )


def test_calm_evidence_is_about_half_an_alarm() -> None:
    assert calm_evidence(drift(50)) is None
    few, many = calm_evidence(drift(300)), calm_evidence(drift(20_000))
    assert (round(few.lower, 2), round(few.upper, 2)) == (0.43, 0.48)
    assert (round(many.lower, 2), round(many.upper, 2)) == (0.55, 0.66)
    assert calm_evidence(drift(10**7)) == many
    halved = calm_evidence(drift(300, log_threshold=23))
    assert (halved.lower, halved.upper) == pytest.approx((few.lower / 2, few.upper / 2))


def test_a_simulated_calm_stream_stands_there() -> None:
    rng, inside = np.random.default_rng(5), 0
    for _ in range(20):
        detector = DriftDetector(DriftSettings(class_count=2))
        confidence = 0.5 + rng.beta(1, 0.56, 1_000) / 2
        detector.update_many(confidence, rng.random(1_000) < confidence, rng.integers(0, 2, 1_000))
        usual = calm_evidence(drift(1_000, detector.log_threshold))
        inside += usual.lower <= detector.log_evalue / detector.log_threshold <= usual.upper
    assert inside >= 14


LABELED = BinSums.from_predictions([0.8] * 100, [True] * 70 + [False] * 30)


SUMS = LedgerSums(LABELED, LABELED.n, LABELED.confidence)


def width(known: tuple[Slice, ...]) -> float:
    return known[0].gap_upper - known[0].gap_lower


def test_intervals_of_slices_hold_together_and_count_what_labels_are_worth() -> None:
    alone, many = (
        measure_slices({f"tag:site={site}": SUMS for site in range(n)}, worth=1).known
        for n in (1, 50)
    )
    alike = measure_slices({"tag:site=0": SUMS}, worth=0.25).known
    assert alone[0].gap_lower > 0 > many[0].gap_lower
    assert width(alike) == pytest.approx(2 * width(alone), rel=0.1)
