"""Alarms that are not what they seem, and figures from nothing: what report, terminal and page say.

Like those of test_selection_scenes.py, each scene is a seeded simulation of a model and of the
people who label.
"""

from pathlib import Path

import numpy as np
import pytest

from monitoring.findings.status import Status
from monitoring.logged.declaration import LoggedCard
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import calibration_report
from serving.pages.models import model_page
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import (
    DRAWING,
    Answer,
    Told,
    answers,
    calibrated,
    card,
    serve,
    sure_and_wrong,
    tell,
    told,
)

NO_LONGER = (
    "Hardly: the drift alarm is active, but chance alone can explain what all labels show by now."
)
NOTHING_TO_DO = "There is nothing to recalibrate."
FLAT_ALARM = "Alarm: confidence no longer matches accuracy"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def is_true(each: Answer, name: str) -> bool:
    return CLASSES[each.predicted if each.right else 1 - each.predicted] == name


def recalibrates(found: Told) -> bool:
    return any("candor recalibrate" in line for line in found.advice)


def test_only_images_of_one_class_get_labels(path: Path, clock: Clock) -> None:
    """A biopsy is taken of the ill only: a perfect model seems to err in opposite directions by
    predicted class.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(1_000, calibrated)
        serve(monitored, given)
        tell(monitored, [each for each in given if is_true(each, "pneumonia")])
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.says(
        'labels say "pneumonia". If only such images get labels, answers of "pneumonia" seem '
        "right more "
    )
    assert found.says(
        "A choice of labels by true class shows the same. If a fair sample shows it too: "
        "recalibrate with "
    )
    assert not found.says("Recalibrate with --allow-label-changes")
    assert FLAT_ALARM not in found.page
    assert (
        "Alarm: in the labels, which may not be typical of all answers, confidence does not match "
        "accuracy" in found.page
    )


def test_bad_news_comes_first_and_all_the_rest_later(path: Path, clock: Clock) -> None:
    """The alarm of a perfect model whose wrong answers were labeled a week before the others."""
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(2_000, calibrated)
        serve(monitored, given)
        tell(monitored, [each for each in given if not each.right])
        early = told(monitored)
        tell(monitored, [each for each in given if each.right])
        found = told(monitored)
    assert early.says("Probably: the drift alarm is active.")
    assert found.report.status is Status.ALARM
    assert found.says(NO_LONGER)
    assert found.says(NOTHING_TO_DO)
    assert not recalibrates(found)
    assert "Alarm: raised, but the labels no longer bear it out" in found.page


def test_labels_were_mixed_up_and_are_corrected_after_the_alarm(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(600, calibrated)
        serve(monitored, given)
        tell(monitored, [each._replace(right=not each.right) for each in given])
        mixed_up = told(monitored)
        tell(monitored, given)
        found = told(monitored)
    assert mixed_up.says("Yes: the drift alarm is active, and false alarms are rare.")
    assert mixed_up.says(NOTHING_TO_DO) is False
    assert FLAT_ALARM in mixed_up.page
    assert found.says(NO_LONGER)
    assert found.says("have been corrected since")
    assert not recalibrates(found)


def test_a_good_time_before_does_not_hide_an_error(path: Path, clock: Clock) -> None:
    """2,500 labels of a calibrated model, then 300 of one that is off: little of all labels, and
    still an alarm.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        good = answers(2_500, calibrated)
        off = [
            each._replace(number=each.number + 5_000)
            for each in answers(300, lambda p: p - 0.3, seed=5)
        ]
        for part in (good, off):
            serve(monitored, part)
            tell(monitored, part)
        found = told(monitored)
    assert found.report.drift is not None
    assert found.report.drift.alarm is not None
    assert found.says("Yes: the drift alarm is active, and false alarms are rare.")
    assert recalibrates(found)


def test_an_error_of_two_classes_that_cancels_is_not_taken_back(path: Path, clock: Clock) -> None:
    """All answers have a label, the mean shows nothing, and each class is off by 15 points."""
    with MonitoredModel(path, clock, card=card()) as monitored:
        off = [answers(1_200, lambda p, by=by: p + by, highest=0.8, seed=3) for by in (-0.15, 0.15)]
        given = [each for k in (0, 1) for each in off[k] if each.predicted == k]
        given = [each._replace(number=number) for number, each in enumerate(given)]
        serve(monitored, given)
        tell(monitored, sorted(given, key=lambda each: each.chance))
        found = told(monitored)
    assert abs(found.report.measures.signed_gap) < 0.03
    assert found.says("Yes: the drift alarm is active, and false alarms are rare.")


def test_a_few_missing_audit_labels_can_explain_a_small_error_only(
    path: Path, clock: Clock
) -> None:
    """A perfect model: seven in ten wrong answers of the audit stay without a label, which is 18 %
    of the audit.
    """
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given, audit=True)
        tell(
            monitored, [each for each in given if each.drawn and (each.right or each.chance < 0.3)]
        )
        found = told(monitored)
    audit = found.report.selection.audit
    assert audit is not None
    assert 0.1 < audit.missing < 0.2
    assert found.report.status is Status.ALARM
    assert found.says("Probably: the drift alarm is active.")
    assert found.says(
        "of the answers drawn for the audit have no label, long after they were drawn."
    )
    assert found.advice[0].startswith("First tell the causes apart: label the ")
    assert not found.says("Yes: the drift alarm is active, and false alarms are rare.")


def test_a_few_missing_audit_labels_do_not_excuse_a_large_error(path: Path, clock: Clock) -> None:
    """Off by 20 points where 6 % of the audit have no label: no rival cause, whatever these
    were.
    """
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(3_000, lambda p: p - 0.2)
        serve(monitored, given, audit=True)
        tell(monitored, [each for each in given if each.drawn and each.chance < 0.94])
        found = told(monitored)
    assert found.says("Yes: the drift alarm is active, and false alarms are rare.")
    assert not found.says("rival cause")
    assert recalibrates(found)


def test_complaints_where_the_watch_hears_the_audit_alone(path: Path, clock: Clock) -> None:
    """Sixty audited labels are too few to decide, and more complaints would never reach the
    watch.
    """
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(1_000, calibrated)
        serve(monitored, given[:240], audit=True)
        serve(monitored, given[240:])
        tell(monitored, [each for each in given[:240] if each.drawn])
        tell(
            monitored,
            [each for each in given if not (each.number < 240 and each.drawn) and not each.right],
        )
        found = told(monitored)
    assert found.report.status is Status.OFF
    assert found.says(
        "Keep labeling the answers drawn for the audit, to which alone the drift alarm listens"
    )
    assert not found.says("Keep labeling: ")


def test_a_class_that_is_never_answered_has_no_interval(path: Path, clock: Clock) -> None:
    """And where only the other classes' probabilities are off, that does not contradict the
    verdict.
    """
    three = ("normal", "pneumonia", "effusion")
    reference = card().model_copy(update={"classes": three})
    with MonitoredModel(path, clock, card=reference) as monitored:
        given = answers(1_500, calibrated)
        for each in given:  # the answer's confidence, and the rest half and half
            row = make_row(each.number, confidence=each.confidence, predicted=each.predicted)
            rest = (1 - each.confidence) / 2
            probabilities = np.full(3, rest, dtype="<f4")
            probabilities[each.predicted] = each.confidence
            monitored.serve(row._replace(probabilities=probabilities.tobytes()))
        tell(monitored, given)  # wrong answers are truly of the other class, never an effusion
        page = read_page_data(monitored.ledger, "pneumonia")
    rows = {row.title: row for row in page.report.expected_performance.rows()}
    never = rows["sensitivity: effusion"].from_confidence
    assert never.value == 0
    assert np.isnan([never.lower, never.upper, never.deviation]).all()
    assert np.isnan(rows["specificity: effusion"].from_confidence.upper)
    assert "never answered" in model_page(page)
    assert "- to -" not in model_page(page)
    assert page.report.status is Status.OK
    sentence = page.report.expected_performance.sentence
    assert "confidence, that of the answer, may hold all the same" in sentence


def test_a_version_without_answers_has_no_share_of_labels(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(300, sure_and_wrong)
        serve(monitored, given)
        monitored.label(label(0))
        one = told(monitored)
        monitored.recorder.promote(monitored.recorder.register(make_card(version=2))).result()
        fresh = told(monitored)
    assert "1 of 300 answers has a label" in one.terminal
    assert fresh.report.version == 2
    assert "There are no answers yet. Drift detector: no alarm" in fresh.terminal
    assert "0 of 0" not in fresh.terminal


def test_advice_about_a_model_that_is_served_elsewhere_can_be_followed(
    path: Path, clock: Clock
) -> None:
    """Candor cannot promote it, recalibrate it, or draw its audit."""
    reference = card().calibration.sums
    with MonitoredModel(path, clock) as monitored:
        declared = monitored.recorder.declare(LoggedCard("retina", 1, CLASSES, reference)).result()
        given = [
            each for each in answers(1_500, calibrated) if each.predicted == 1 or each.chance < 0.5
        ]
        for each in given:
            row = make_row(each.number, confidence=each.confidence, predicted=each.predicted)
            monitored.serve(row._replace(watched_version_id=declared.watched_version_id))
        tell(monitored, [each for each in given if is_true(each, "pneumonia")])
        chosen = calibration_report(monitored.ledger, "retina")
        tell(monitored, [each for each in given if not is_true(each, "pneumonia")])
        tell(monitored, [each._replace(right=each.right and each.chance < 0.6) for each in given])
        lower = calibration_report(monitored.ledger, "retina")
    for report in (chosen, lower):
        said = " ".join((*report.recommendation.what_to_do, report.recommendation.worried))
        assert report.status is Status.ALARM
        for impossible in (
            "candor promote",
            "candor recalibrate",
            "--allow-label-changes",
            "CANDOR_AUDIT_SHARE",
        ):
            assert impossible not in said
    assert (
        'draw answers at random, log them with "audit": their probability'
        in chosen.recommendation.what_to_do[0]
    )
    assert any(
        "roll back (the version before it)" in line for line in lower.recommendation.what_to_do
    )


def test_a_sample_that_was_labeled_last_can_be_recalibrated_on(path: Path, clock: Clock) -> None:
    """Without an audit the command publishes only with `--chosen-labels`, so the advice names
    it.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(1_500, calibrated)
        serve(monitored, given)
        tell(monitored, [each for each in given if not each.right])
        found = told(monitored)
    assert found.says(
        "`candor recalibrate pneumonia` if it is an audit, or `candor recalibrate pneumonia "
        "--last N "
    )
    assert found.says(
        "--chosen-labels` if it is the N labels that came last; then `candor promote pneumonia "
        "VERSION`."
    )


def test_confirmed_findings_come_back_more_often(path: Path, clock: Clock) -> None:
    """The opposite of complaints: a perfect model seems too modest, and the sentences say in which
    direction.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given)
        tell(monitored, [each for each in given if each.chance < (0.3 if each.right else 0.1)])
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.says(
        "If right answers come back more often, as confirmed findings do, a calibrated model"
    )
    assert found.says(
        "if right or sure answers are labeled more often than others, accuracy seems higher than "
        "it is."
    )
    assert not found.says("as complaints do")
    assert not found.says("accuracy seems lower than it is")
