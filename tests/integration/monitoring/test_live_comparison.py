"""Versions are compared as like with like, or not at all."""

import json
from pathlib import Path

import pytest

from calibration.bins import BinSums
from calibration.diagnosis.facts import AnswerGroup
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from monitoring.diagnosis.live_comparison import comparison_words
from monitoring.reports.report import calibration_report, compare_live_versions
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import card


def fill(
    monitored: MonitoredModel,
    version: int,
    start: int,
    day: int,
    *,
    wrong: int,
    site: str = "A",
    alike: int = 1,
) -> None:
    """100 answers of confidence .8 on a day, every `wrong`-th wrong, or of patients with so many
    alike images the images of every `wrong`-th.
    """
    at_ns = NOW_NS + day * DAY_NS
    tags = json.dumps({"site": site})
    rows = [
        make_row(start + i, watched_version_id=version, confidence=0.8, served_at_ns=at_ns)
        for i in range(100)
    ]
    patient = [None if alike == 1 else start + i // alike for i in range(100)]
    rows = [row._replace(tags=tags, patient=p) for row, p in zip(rows, patient, strict=True)]
    monitored.serve(*rows)
    labels = (CLASSES[int(i // alike % wrong > 0)] for i in range(100))
    monitored.label(*(label(start + i, name, at_ns=at_ns) for i, name in enumerate(labels)))


def test_only_days_on_which_both_have_labels_count(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        (second,) = monitored.recorder.register(make_card(version=2))
        fill(monitored, monitored.watched_version_id, 0, 0, wrong=2)  # a bad day long ago
        fill(monitored, monitored.watched_version_id, 1_000, 5, wrong=5)
        found = compare_live_versions(monitored.ledger, "pneumonia", 1, 2)
        assert found is None
        fill(monitored, second, 2_000, 5, wrong=10)
        found = compare_live_versions(monitored.ledger, "pneumonia", 1, 2)
    assert (found.days, found.n_first, found.n_second, found.audit) == (1, 100, 100, False)
    assert found.accuracy.estimate == pytest.approx(0.1)
    assert found.accuracy.lower < 0.1 < found.accuracy.upper
    assert found.from_cases.estimate == pytest.approx(0)
    assert found.gap.estimate == pytest.approx(-0.1)
    assert "+10.0 points" in comparison_words(found)
    assert comparison_words(None) != comparison_words(found)


def test_a_shadow_is_compared_image_by_image(tmp_path: Path, clock: Clock) -> None:
    """Of 100 images 20 are hard for both versions, and 10 for the first alone."""
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        (second,) = monitored.recorder.register(make_card(version=2))
        monitored.recorder.shadow(second).result()
        for version, last_bit in ((monitored.watched_version_id, 0), (second, 1)):
            wrong = 30 if version != second else 20
            numbers = [2 * i + last_bit for i in range(100)]
            monitored.serve(
                *(
                    make_row(
                        n, watched_version_id=version, confidence=0.8, predicted=int(i >= wrong)
                    )
                    for i, n in enumerate(numbers)
                )
            )
        monitored.label(*(label(2 * i, CLASSES[1]) for i in range(100)))
        found = compare_live_versions(monitored.ledger, "pneumonia", 1, 2)
    assert (found.paired, found.n_first, found.n_second) == (True, 100, 100)
    assert found.accuracy.estimate == pytest.approx(0.1)
    assert found.gap.estimate == pytest.approx(-0.1)
    assert found.accuracy.lower > 0  # as independent answers: -0.02 to 0.22
    assert "100 images" in comparison_words(found)


def test_a_version_that_is_better_in_sum_is_said_to_be_worse_at_one_site(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        first = monitored.watched_version_id
        (second,) = monitored.recorder.register(make_card(version=2))
        for at, (site, wrong, wrong_now) in enumerate([("A", 3, 50), ("B", 10, 3), ("C", 3, 50)]):
            fill(monitored, first, 1_000 * at, 5, wrong=wrong, site=site)
            fill(monitored, second, 1_000 * at + 500, 5, wrong=wrong_now, site=site)
        found = compare_live_versions(monitored.ledger, "pneumonia", 1, 2)
    assert found is not None
    assert found.accuracy.lower > 0
    (worse,) = [each for each in found.worse if each.name.startswith("tag:")]
    assert worse.name == "tag:site=B"
    assert worse.accuracy.estimate == pytest.approx(-0.24)
    assert worse.accuracy.upper < 0
    assert "site=B" in comparison_words(found)


def test_the_group_that_a_version_recalibrates_is_compared_by_itself(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        first = monitored.watched_version_id
        (second,) = monitored.recorder.register(make_card(version=2))
        for at, (site, wrong, wrong_now) in enumerate([("A", 10, 10), ("B", 2, 10)]):
            fill(monitored, first, 1_000 * at, 5, wrong=wrong, site=site)
            fill(monitored, second, 1_000 * at + 500, 5, wrong=wrong_now, site=site)
        for value, gap in (("A", 0.0), ("B", -0.4)):
            group = AnswerGroup("tag:site", (value,))
            found = compare_live_versions(monitored.ledger, "pneumonia", 1, 2, group=group)
            assert found is not None
            assert found.group is not None
            assert found.group.gap.estimate == pytest.approx(gap)
            assert f"In site {value} alone" in comparison_words(found)


@pytest.mark.parametrize(("alike", "answer"), [(1, "lower"), (10, "unknown")])
def test_images_of_a_patient_are_not_taken_for_independent_labels(
    alike: int, answer: str, tmp_path: Path, clock: Clock
) -> None:
    """Every second of 40 patients, or of 400, is wrong on a day, and with another version every
    fourth.
    """
    with MonitoredModel(tmp_path / "ledger.db", clock, card=card()) as monitored:
        first = monitored.watched_version_id
        (second,) = monitored.recorder.register(card().model_copy(update={"version": 2}))
        for start in range(0, 400, 100):
            fill(monitored, first, start, 0, wrong=2, alike=alike)
            fill(monitored, second, 1_000 + start, 0, wrong=4, alike=alike)
        compared = compare_live_versions(monitored.ledger, "pneumonia", 1, 2)
        report = calibration_report(monitored.ledger, "pneumonia", version=1)
        other = calibration_report(monitored.ledger, "pneumonia", version=2)
    assert compared is not None
    assert (compared.accuracy.lower > 0) == (alike == 1)
    assert report.diagnosis.accuracy.answer == answer
    assert report.diagnosis.accuracy.n == 400
    rates = other.expected_performance.checked
    assert rates
    assert alike == 1 or not any(each.contradicted for each in rates)


@pytest.mark.parametrize("is_wrong", [False, True])
def test_a_version_is_rolled_back_for_an_error_and_never_for_harder_cases(
    is_wrong: bool, tmp_path: Path, clock: Clock
) -> None:
    """By chance a calibrated version on harder cases is 3 points less often right than it says."""
    sums = BinSums.from_predictions([0.95] * 2_000, [n % 20 > 0 for n in range(2_000)])
    easy = CalibrationCard.from_reference(
        temperature=1.0, split="test", sums=sums, measures=Measures.from_sums(sums)
    )
    cards = [make_card(version=n).model_copy(update={"calibration": easy}) for n in (1, 2)]
    with MonitoredModel(tmp_path / "ledger.db", clock, card=cards[0]) as monitored:
        (second,) = monitored.recorder.register(cards[1])
        for key in (monitored.watched_version_id, second):
            clock.now_ns += DAY_NS
            monitored.recorder.promote(key).result()
        for at in range(10):
            fill(monitored, second, 100 * at, at, wrong=2 if is_wrong else 4 + at % 5 // 3)
        clock.now_ns = NOW_NS + 10 * DAY_NS
        found = calibration_report(monitored.ledger, "pneumonia").diagnosis
        monitored.recorder.promote(monitored.watched_version_id).result()
        followed = calibration_report(monitored.ledger, "pneumonia").diagnosis
    assert found.accuracy.answer == "lower"
    assert found.accuracy.from_error.upper < 0
    offered = [each.version for each in found.actions if each.code == "roll_back"]
    assert offered == ([1] if is_wrong else [])
    assert (followed.version, followed.state) == (1, "unknown")
