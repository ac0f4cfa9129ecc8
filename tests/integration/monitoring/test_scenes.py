"""Scenes in which a careless verdict would mislead: labels that are chosen, alarms that are not
what they seem, figures from nothing.

Each is a seeded simulation of a model and of the people who label, on a real ledger.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures.summary import Measures
from model_store.bundle.card import CalibrationCard, Card
from monitoring.drift.tag_settings import TagSettings
from monitoring.logged.declaration import LoggedCard
from monitoring.reports.report import Report, calibration_report
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import (
    DRAWING,
    Answer,
    answers,
    calibrated,
    card,
    complained_about,
    serve,
    shown,
    sure_and_wrong,
    tell,
)

_COMMANDS = re.compile(
    r"`candor (\w+)|(--[a-z]+(?:-[a-z]+)+)|report/(acknowledge|reset)|(CANDOR_AUDIT_SHARE)"
)
RECALIBRATE = "acknowledge promote recalibrate"
LABEL_THE_REST = f"--chosen-labels {RECALIBRATE}"  # of the audit, first
TELL_APART = f"--chosen-labels CANDOR_AUDIT_SHARE {RECALIBRATE}"


class Facts(NamedTuple):
    """What a report says, without its words.

    `advises`: the commands, options, addresses and settings that the advice names.
    """

    status: str
    accuracy: str
    estimate: str
    is_rival: bool = False
    is_cleared: bool = False
    advises: str = ""


class Scene(NamedTuple):
    """A play and what is expected after it."""

    play: Callable[[MonitoredModel], None]
    expected: Facts
    settings: DriftSettings | None
    tags: TagSettings | None
    card: Callable[[], Card]


SCENES: list[Scene] = []


def scene(
    *facts: str,
    settings: DriftSettings | None = None,
    tags: TagSettings | None = None,
    card: Callable[[], Card] = card,
    is_rival: bool = False,
    is_cleared: bool = False,
    advises: str = "",
) -> Callable[[Callable[[MonitoredModel], None]], Callable[[MonitoredModel], None]]:
    """Add a play to the scenes, with its facts: status, accuracy, estimate."""
    status, accuracy, estimate = facts
    expected = Facts(status, accuracy, estimate, is_rival, is_cleared, advises)

    def add(play: Callable[[MonitoredModel], None]) -> Callable[[MonitoredModel], None]:
        SCENES.append(Scene(play, expected, settings, tags, card))
        return play

    return add


def facts_of(report: Report) -> Facts:
    said = report.recommendation
    found = _COMMANDS.findall(" ".join(said.what_to_do))
    commands = sorted({"".join(groups) for groups in found})
    return Facts(
        report.status.value,
        report.accuracy.answer.value,
        report.expected_performance.status.value,
        said.is_rival,
        said.is_cleared,
        " ".join(commands),
    )


def report_of(monitored: MonitoredModel) -> Report:
    return calibration_report(monitored.ledger, monitored.card.name)


def off(*, by: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda confidence: confidence - by


def is_true(each: Answer, name: str) -> bool:
    return CLASSES[each.predicted if each.right else 1 - each.predicted] == name


# Labels that are chosen


@scene("partly-checked", "unknown", "agrees")
def unsure_answers_only(monitored: MonitoredModel) -> None:
    """Overconfident where nobody looks: not "no", and selection alone is no fall of accuracy."""
    given = answers(2_000, sure_and_wrong)
    serve(monitored, given)
    tell(monitored, [each for each in given if each.confidence < 0.8])


@scene("partly-checked", "unknown", "agrees")
def a_class_and_a_site_that_nobody_labels(monitored: MonitoredModel) -> None:
    given = answers(1_000, calibrated)
    rows = [
        make_row(each.number, confidence=each.confidence, predicted=each.predicted)._replace(
            tags=json.dumps({"site": "AB"[each.chance < 0.3]})
        )
        for each in given
    ]
    monitored.serve(*rows)
    tell(monitored, [each for each in given if each.chance >= 0.3 and each.predicted == 1])
    unchecked = {each.name for each in report_of(monitored).selection.unchecked}
    assert unchecked == {'answers of "normal"', "answers with site=B"}


@scene("alarm", "lower", "contradicted", is_rival=True, advises=TELL_APART)
def complaints_about_a_perfect_model(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    serve(monitored, given)
    tell(monitored, complained_about(given))
    first, *_ = report_of(monitored).recommendation.what_to_do
    assert "recalibrate pneumonia" not in first


@scene("alarm", "higher", "contradicted", is_rival=True, advises=TELL_APART)
def confirmed_findings_come_back_more_often(monitored: MonitoredModel) -> None:
    """The opposite of complaints: a perfect model seems too modest."""
    given = answers(3_000, calibrated)
    serve(monitored, given)
    tell(monitored, [each for each in given if each.chance < (0.3 if each.right else 0.1)])


@scene(
    "alarm", "unknown", "contradicted", is_rival=True, advises=f"--allow-label-changes {TELL_APART}"
)
def only_images_of_one_class_get_labels(monitored: MonitoredModel) -> None:
    """A biopsy is taken of the ill only: predicted classes seem to err in opposite directions."""
    given = answers(1_000, calibrated)
    serve(monitored, given)
    tell(monitored, [each for each in given if is_true(each, "pneumonia")])


@scene("alarm", "lower", "contradicted", is_rival=True, advises=TELL_APART)
def the_labels_of_all_wrong_answers_came_first(monitored: MonitoredModel) -> None:
    given = answers(1_500, calibrated)
    serve(monitored, given)
    tell(monitored, [each for each in given if not each.right])


@scene("alarm", "as-it-was", "contradicted", is_cleared=True, advises="acknowledge")
def bad_news_comes_first_and_all_the_rest_later(monitored: MonitoredModel) -> None:
    given = answers(2_000, calibrated)
    serve(monitored, given)
    tell(monitored, [each for each in given if not each.right])
    assert facts_of(report_of(monitored)).is_rival
    tell(monitored, [each for each in given if each.right])


@scene("alarm", "unknown", "contradicted", is_cleared=True, advises="acknowledge")
def labels_were_mixed_up_and_are_corrected_after_the_alarm(monitored: MonitoredModel) -> None:
    given = answers(600, calibrated)
    serve(monitored, given)
    tell(monitored, [each._replace(right=not each.right) for each in given])
    mixed_up = facts_of(report_of(monitored))
    assert (mixed_up.status, mixed_up.is_cleared) == ("alarm", False)
    tell(monitored, given)


# Audits


@scene("ok", "as-it-was", "agrees", settings=DRAWING)
def complaints_beside_an_audit(monitored: MonitoredModel) -> None:
    """The audit decides: every figure is that of a calibrated model."""
    given = answers(3_000, calibrated)
    serve(monitored, given, audit=True)
    tell(monitored, complained_about([each for each in given if not each.drawn]))
    drawn = [each for each in given if each.drawn]
    tell(monitored, drawn)
    report = report_of(monitored)
    assert report.measures.n == len(drawn)
    assert report.measures.signed_gap == pytest.approx(0, abs=0.03)
    assert not report.comparison.accuracy_as_served.significant
    assert report.slices is not None
    assert {each.n for each in report.slices.known} == {
        sum(each.predicted == predicted for each in drawn) for predicted in (0, 1)
    }


@scene("alarm", "lower", "contradicted", settings=DRAWING, advises=RECALIBRATE)
def an_audit_finds_what_chosen_labels_hide(monitored: MonitoredModel) -> None:
    """Right answers are labeled more often, so that all labels together look fine."""
    given = answers(6_000, off(by=0.1))
    serve(monitored, given, audit=True)
    tell(monitored, [each for each in given if each.drawn])
    tell(
        monitored,
        [each for each in given if not each.drawn and (each.right or each.chance < 0.4)],
    )
    assert report_of(monitored).measures.signed_gap == pytest.approx(0.1, abs=0.03)


@scene("alarm", "unknown", "contradicted", is_cleared=True, advises="acknowledge")
def an_alarm_from_before_the_audit_is_cleared_by_it(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    serve(monitored, given[:1_500])
    tell(monitored, complained_about(given[:1_500]))
    assert report_of(monitored).status.value == "alarm"
    with MonitoredModel(
        str(monitored.ledger.url), monitored.ledger.clock, card=monitored.card, settings=DRAWING
    ) as drawing:
        serve(drawing, given[1_500:], audit=True)
        tell(drawing, [each for each in given[1_500:] if each.drawn])


@scene("partly-checked", "unknown", "agrees", settings=DRAWING)
def half_of_the_audit_has_no_label(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    serve(monitored, given, audit=True)
    tell(monitored, [each for each in given if each.drawn][::2])


@scene("alarm", "lower", "contradicted", settings=DRAWING, is_rival=True, advises=LABEL_THE_REST)
def the_half_of_the_audit_that_is_wrong_has_labels(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    serve(monitored, given, audit=True)
    tell(
        monitored, [each for each in given if each.drawn and (not each.right or each.chance < 0.3)]
    )


@scene("alarm", "higher", "contradicted", settings=DRAWING, is_rival=True, advises=LABEL_THE_REST)
def a_few_missing_audit_labels_can_explain_a_small_error(monitored: MonitoredModel) -> None:
    """A perfect model: seven in ten wrong answers of the audit, 18 % of it, have no label."""
    given = answers(3_000, calibrated)
    serve(monitored, given, audit=True)
    tell(monitored, [each for each in given if each.drawn and (each.right or each.chance < 0.3)])
    audit = report_of(monitored).selection.audit
    assert audit is not None
    assert 0.1 < audit.missing < 0.2


@scene("alarm", "lower", "contradicted", settings=DRAWING, advises=RECALIBRATE)
def a_few_missing_audit_labels_do_not_excuse_a_large_error(monitored: MonitoredModel) -> None:
    """Off by 20 points where 6 % of the audit have no label: no rival cause."""
    given = answers(3_000, off(by=0.2))
    serve(monitored, given, audit=True)
    tell(monitored, [each for each in given if each.drawn and each.chance < 0.94])


@scene(
    "off",
    "lower",
    "contradicted",
    settings=DRAWING,
    is_rival=True,
    advises="CANDOR_AUDIT_SHARE promote",
)
def complaints_where_the_watch_hears_the_audit_alone(monitored: MonitoredModel) -> None:
    """Sixty audited labels are too few to decide; complaints never reach the watch."""
    given = answers(1_000, calibrated)
    serve(monitored, given[:240], audit=True)
    serve(monitored, given[240:])
    audited = [each for each in given[:240] if each.drawn]
    tell(monitored, audited)
    tell(monitored, [each for each in given if each not in audited and not each.right])


@scene("ok", "as-it-was", "agrees", settings=DRAWING, advises="CANDOR_AUDIT_SHARE reset")
def a_watch_of_audited_answers_that_nobody_draws(monitored: MonitoredModel) -> None:
    given = answers(1_000, calibrated)
    serve(monitored, given)
    tell(monitored, given)


@scene("ok", "unknown", "agrees", settings=DRAWING)
def a_replica_without_the_setting_changes_nobody_who_is_heard(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    with MonitoredModel(
        str(monitored.ledger.url), monitored.ledger.clock, card=monitored.card
    ) as replica:
        serve(monitored, given[:1_500], audit=True)
        serve(replica, given[1_500:])
        heard = [each for each in given[:1_500] if each.drawn]
        tell(replica, complained_about([each for each in given if each not in heard]))
        tell(replica, heard)
        stored, _ = replica.detectors()
    assert stored.settings.audit
    assert stored.labels == report_of(monitored).measures.n == len(heard)


# Fair labels


@scene("ok", "unknown", "agrees")
def a_fair_sample_needs_no_caution(monitored: MonitoredModel) -> None:
    given = answers(3_000, calibrated)
    serve(monitored, given)
    tell(monitored, [each for each in given if each.chance < 0.2])


@scene("ok", "lower", "agrees", advises="promote")
def harder_cases(monitored: MonitoredModel) -> None:
    """Harder images, still calibrated: confidence can be believed, and accuracy did fall."""
    given = answers(2_000, calibrated, highest=0.75)
    serve(monitored, given)
    tell(monitored, given)


@scene("partly-checked", "lower", "agrees", advises="promote")
def accuracy_fell_in_the_labeled_answers(monitored: MonitoredModel) -> None:
    monitored.answer(range(400), wrong=2, confidence=0.5, both=True)
    monitored.serve(*(make_row(n) for n in range(1_000, 1_100)))


@scene("alarm", "unknown", "contradicted", advises=RECALIBRATE)
def a_good_time_before_does_not_hide_an_error(monitored: MonitoredModel) -> None:
    """2,500 labels of a calibrated model, then 300 of one that is off: little of all labels."""
    wrong = [
        each._replace(number=each.number + 5_000) for each in answers(300, off(by=0.3), seed=5)
    ]
    for part in (answers(2_500, calibrated), wrong):
        serve(monitored, part)
        tell(monitored, part)


@scene("alarm", "lower", "contradicted", advises=f"--allow-label-changes {RECALIBRATE}")
def an_error_of_two_classes_that_cancels(monitored: MonitoredModel) -> None:
    """The mean shows nothing, and each class is off by 15 points."""
    by_class = [answers(1_200, off(by=by), highest=0.8, seed=3) for by in (0.15, -0.15)]
    given = [each for k in (0, 1) for each in by_class[k] if each.predicted == k]
    given = [each._replace(number=number) for number, each in enumerate(given)]
    serve(monitored, given)
    tell(monitored, sorted(given, key=lambda each: each.chance))
    assert abs(report_of(monitored).measures.signed_gap) < 0.03


@scene("ok", "as-it-was", "contradicted", settings=DriftSettings(class_wise=False))
def the_same_without_a_watch_of_classes(monitored: MonitoredModel) -> None:
    given = [n % 2 for n in range(1_000)]
    right = [(n * 7919 // 2) % 100 < (90 if n % 2 else 60) for n in range(1_000)]
    monitored.serve(*(make_row(n, confidence=0.75, predicted=k) for n, k in enumerate(given)))
    monitored.label(
        *(
            label(n, CLASSES[k if ok else 1 - k])
            for n, (k, ok) in enumerate(zip(given, right, strict=True))
        )
    )
    assert not report_of(monitored).recommendation.worried.startswith("No")


@scene("off", "unknown", "contradicted")
def an_error_at_one_look(monitored: MonitoredModel) -> None:
    """Looking often explains it; a window that moves has no sequence of looks."""
    monitored.answer(range(300), wrong=4, confidence=0.82, both=True)
    gap = report_of(monitored).gap_at_every_look
    assert gap is not None
    assert not gap.excludes_zero
    moving = calibration_report(monitored.ledger, "pneumonia", window="days:30")
    assert moving.gap_at_every_look is None
    assert moving.recommendation.evidence != report_of(monitored).recommendation.evidence


@scene(
    "alarm",
    "lower",
    "contradicted",
    settings=DriftSettings(average_run_length=1_000),
    advises=RECALIBRATE,
)
def an_alarm_names_its_beginning(monitored: MonitoredModel) -> None:
    monitored.answer(range(100), wrong=20, confidence=0.95, both=True)
    monitored.answer(range(100, 400), wrong=2, confidence=0.95, both=True)
    drift = report_of(monitored).drift
    assert drift is not None
    assert drift.alarm is not None
    since = drift.alarm["since"]
    assert since["lower"] <= 101 <= since["upper"]
    advice = " ".join(report_of(monitored).recommendation.what_to_do)
    assert f"--last {400 - since['label'] + 1}" in advice
    assert drift.streams[0].direction == "over"
    assert sum(stream.share for stream in drift.streams) <= 1 + 1e-9


@scene("alarm", "lower", "contradicted", advises=RECALIBRATE)
def off_from_the_first_label(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=2, confidence=0.95, both=True)
    drift = report_of(monitored).drift
    assert drift is not None
    assert drift.alarm is not None
    assert drift.alarm["since"]["from_first"]


def overconfident_card() -> Card:
    """95 % confident and right 80 times in 100 on its reference data."""
    sums = BinSums.from_predictions([0.95] * 400, [n % 5 > 0 for n in range(400)])
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="validation", sums=sums, measures=Measures.from_sums(sums)
    )
    return make_card().model_copy(update={"calibration": calibration})


@scene("alarm", "unknown", "contradicted", card=overconfident_card, advises=RECALIBRATE)
def a_card_that_shows_the_error_itself(monitored: MonitoredModel) -> None:
    monitored.answer(range(300), wrong=5, confidence=0.95, both=True)


# Few labels, and none


@scene("no-labels", "unknown", "unknown")
def nothing_was_answered(monitored: MonitoredModel) -> None:
    assert report_of(monitored).gap_at_every_look is None


@scene("early", "unknown", "not-checked")
def too_few_labels(monitored: MonitoredModel) -> None:
    monitored.answer(range(20), wrong=4, confidence=0.75, both=True)


@scene("ok", "higher", "agrees")
def a_hundred_right_answers_at_99_percent(monitored: MonitoredModel) -> None:
    """More than a third of all calibrated models show that."""
    monitored.answer(range(100), confidence=0.99, both=True)
    measures = report_of(monitored).measures
    assert measures.signed_gap_lower < 0 < measures.signed_gap_upper


@scene("partly-checked", "unknown", "agrees", advises="CANDOR_AUDIT_SHARE")
def few_of_many_answers_have_labels(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=4, confidence=0.75, both=True)
    monitored.serve(*(make_row(n) for n in range(1_000, 9_000)))


@scene("no-labels", "unknown", "unknown")
def a_new_version_has_no_share_of_labels(monitored: MonitoredModel) -> None:
    serve(monitored, answers(300, sure_and_wrong))
    monitored.label(label(0))
    monitored.recorder.promote(monitored.recorder.register(make_card(version=2))).result()


# One site


def at_sites(monitored: MonitoredModel, *, share: float, gap: float) -> None:
    """A calibrated model, but at site B, where it is right less often than its confidence says."""
    rng = np.random.default_rng(7)
    confidence = rng.uniform(0.5, 1.0, 4_000)
    small = rng.random(4_000) < share
    right = rng.random(4_000) < confidence - gap * small
    predicted = rng.integers(0, 2, 4_000)
    sites = np.where(small, "B", np.where(rng.random(4_000) < 0.5, "A", "C")).tolist()
    columns = zip(confidence.tolist(), predicted.tolist(), sites, strict=True)
    monitored.serve(
        *(
            make_row(n, confidence=p, predicted=k)._replace(tags=json.dumps({"site": site}))
            for n, (p, k, site) in enumerate(columns)
        )
    )
    names = np.where(right, predicted, 1 - predicted).tolist()
    monitored.label(*(label(n, CLASSES[name]) for n, name in enumerate(names)))


def tag_alarms(report: Report) -> list[str]:
    assert report.tag_watches is not None
    return [each.tag for each in report.tag_watches.active]


@scene(
    "alarm", "as-it-was", "contradicted", tags=TagSettings(("site", "ward")), advises="acknowledge"
)
def an_alarm_of_one_site_alone(monitored: MonitoredModel) -> None:
    at_sites(monitored, share=0.06, gap=0.35)
    report = report_of(monitored)
    assert report.drift is not None
    assert not report.drift.active
    assert tag_alarms(report) == ["site=B"]
    assert report.tag_watches is not None
    assert report.tag_watches.missing == ("ward",)
    history = [(entry["tag"], entry["kind"]) for entry in report.history]
    assert history == [(None, "started"), (None, "tags"), ("site=B", "alarm")]


@scene("off", "as-it-was", "agrees", tags=TagSettings(("site",)))
def the_alarm_of_a_site_is_acknowledged(monitored: MonitoredModel) -> None:
    at_sites(monitored, share=0.03, gap=0.35)
    assert tag_alarms(report_of(monitored)) == ["site=B"]
    monitored.recorder.acknowledge("pneumonia", tag="site=B", note="lens").result()


@scene("alarm", "lower", "contradicted", tags=TagSettings(("site",)), advises=RECALIBRATE)
def a_site_that_alone_raised_the_alarm_of_all_answers(monitored: MonitoredModel) -> None:
    """The tag comes first in the advice: a recalibration changes what the other sites get."""
    at_sites(monitored, share=0.5, gap=0.35)
    report = report_of(monitored)
    assert report.drift is not None
    assert report.drift.active
    assert tag_alarms(report) == ["site=B"]
    advice = report.recommendation.what_to_do
    recalibrate = next(n for n, line in enumerate(advice) if "candor recalibrate" in line)
    assert all(n < recalibrate for n, line in enumerate(advice) if "site=B" in line)


@scene("ok", "as-it-was", "agrees", tags=TagSettings(("site",)))
def a_calibrated_model_with_watched_tags_is_calm(monitored: MonitoredModel) -> None:
    at_sites(monitored, share=0.06, gap=0.0)
    report = report_of(monitored)
    assert tag_alarms(report) == []
    assert report.drift is not None
    assert report.drift.shares_alarms


@pytest.mark.parametrize("played", SCENES, ids=lambda played: played.play.__name__)
def test_a_scene_is_judged_alike_everywhere(played: Scene, tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(
        tmp_path / "ledger.db",
        clock,
        card=played.card(),
        settings=played.settings,
        tags=played.tags,
    ) as monitored:
        played.play(monitored)
        report, texts = shown(monitored)
    assert facts_of(report) == played.expected
    said = report.recommendation
    for sentence in (report.verdict, said.worried, *report.further_evidence, *said.what_to_do):
        assert [sentence in text for text in texts] == [True, True], sentence
    json.dumps(report.as_dict(), allow_nan=False)


def test_small_numbers_print_nothing_that_cannot_be(tmp_path: Path, clock: Clock) -> None:
    """(labels, every so many is wrong, confidence, answers without a label)"""
    for labels, wrong, confidence, unlabeled in (
        (1, 0, 0.999, 0),
        (1, 1, 0.75, 1_000),
        (2, 1, 0.75, 0),
        (20, 0, 0.999, 0),
        (99, 3, 0.95, 0),
        (120, 60, 0.999, 0),
        (150, 2, 0.95, 4_000),
    ):
        path = tmp_path / f"{labels}-{wrong}.db"
        with MonitoredModel(path, clock) as monitored:
            monitored.answer(range(labels), wrong=wrong, confidence=confidence, both=True)
            monitored.serve(*(make_row(n) for n in range(5_000, 5_000 + unlabeled)))
            report, _ = shown(monitored)
        if report.status.value == "early":  # no "too early" beside "miscalibrated"
            assert report.slices is not None
            assert not report.slices.significant


def test_a_model_that_is_served_elsewhere_gets_no_command_that_it_cannot_use(
    tmp_path: Path, clock: Clock
) -> None:
    reference = card().calibration.sums
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
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
    assert [facts_of(report).advises for report in (chosen, lower)] == ["acknowledge"] * 2
    assert (facts_of(chosen).is_rival, lower.accuracy.answer.value) == (True, "lower")


def test_a_class_that_is_never_answered_has_no_interval(tmp_path: Path, clock: Clock) -> None:
    """Where only the other classes' probabilities are off, that does not change the status."""
    three = ("normal", "pneumonia", "effusion")
    reference = card().model_copy(update={"classes": three})
    with MonitoredModel(tmp_path / "ledger.db", clock, card=reference) as monitored:
        given = answers(1_500, calibrated)
        for each in given:  # the answer's confidence, and the rest half and half
            row = make_row(each.number, confidence=each.confidence, predicted=each.predicted)
            probabilities = np.full(3, (1 - each.confidence) / 2, dtype="<f4")
            probabilities[each.predicted] = each.confidence
            monitored.serve(row._replace(probabilities=probabilities.tobytes()))
        tell(monitored, given)  # wrong answers are truly of the other class, never an effusion
        report, _ = shown(monitored)
    rates = {row.title: row.from_confidence for row in report.expected_performance.rows()}
    never = rates["sensitivity: effusion"]
    assert never.value == 0
    assert np.isnan([never.lower, never.upper, never.deviation]).all()
    assert np.isnan(rates["specificity: effusion"].upper)
    assert (report.status.value, report.expected_performance.status.value) == ("ok", "contradicted")
