"""Should I be worried: the words, whatever the ledger holds; and the history in sentences."""

import json
import re
from pathlib import Path

import pytest

from calibration.drift.state import DriftSettings
from monitoring.errors import ModelNotInLedger
from monitoring.findings.status import Status
from monitoring.findings.timeline import read_timeline
from monitoring.reports.report import Report, calibration_report
from tests.builders.answers import CLASSES, NOW_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S

QUICK = DriftSettings(average_run_length=1_000)


def label_answers(
    monitored: MonitoredModel,
    numbers: range,
    *,
    right: float,
    confidence: float = 0.75,
    audit: float | None = None,
) -> Report:
    rows = (
        make_row(n, confidence=confidence, predicted=n // 4 % 2, served_at_ns=NOW_NS)._replace(
            audit=audit
        )
        for n in numbers
    )
    monitored.serve(*rows)
    every = round(1 / (1 - right)) if right < 1 else 10**9
    monitored.label(*(label(n, CLASSES[(n // 4 + (n % every == 0)) % 2]) for n in numbers))
    return calibration_report(monitored.ledger, "pneumonia")


def test_no_labels_and_few_labels_say_how_many_are_needed(monitored: MonitoredModel) -> None:
    nothing = calibration_report(monitored.ledger, "pneumonia").recommendation
    assert nothing.status is Status.NO_LABELS
    assert (
        "Label at least 100 answers. About 246 labels show" in nothing.what_to_do[0]
    )  # .8 .2 (1.96/.05)^2
    few = label_answers(monitored, range(20), right=0.75).recommendation
    assert few.worried == "Too early to say: there are fewer than 100 labels."


def test_a_calibrated_model_needs_nothing_but_labels_that_are_a_fair_sample(
    monitored: MonitoredModel,
) -> None:
    good = label_answers(monitored, range(200), right=0.75)
    assert good.recommendation.status is Status.OK
    assert good.recommendation.worried.startswith("No:")
    assert good.recommendation.what_to_do == (
        "Nothing for now. Look again when the alarm is raised or when new labels have arrived.",
    )
    monitored.serve(*(make_row(n) for n in range(1000, 9000)))
    thin = calibration_report(monitored.ledger, "pneumonia").recommendation
    assert thin.status is Status.PARTLY
    assert any(
        line.startswith("2.4 % of answers have a label. If all others were wrong, ")
        for line in thin.evidence
    )
    assert any("CANDOR_AUDIT_SHARE" in line for line in thin.what_to_do)


@pytest.mark.parametrize("class_wise", [True, False])
def test_an_alarm_of_a_class_says_so_where_the_total_is_fine(
    tmp_path: Path, clock: Clock, class_wise: bool
) -> None:
    """At a confidence of .75, answers of "normal" are right 60 times in 100, those of "pneumonia"
    90 times.
    """
    settings = DriftSettings(class_wise=class_wise)
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=settings) as monitored:
        rows = [
            make_row(n, confidence=0.75, predicted=n % 2, served_at_ns=NOW_NS) for n in range(1_000)
        ]
        monitored.serve(*rows)
        right = [(n * 7919 // 2) % 100 < (90 if n % 2 else 60) for n in range(1_000)]
        monitored.label(
            *(label(n, CLASSES[n % 2 if ok else 1 - n % 2]) for n, ok in enumerate(right))
        )
        report = calibration_report(monitored.ledger, "pneumonia")
    assert report.drift is not None
    assert report.drift.class_wise is class_wise
    assert report.drift.active is class_wise
    if not class_wise:  # the mean is fine, the classes are not: "no" would be wrong
        said = report.recommendation
        assert report.recommendation.status is Status.OK
        assert said.worried == (
            "Possibly: over all answers chance alone can explain what the labels show, but at "
            "this look it does not "
            'explain the error in answers of "pneumonia".'
        )
        assert said.what_to_do[0].startswith("Keep labeling, and look at the slices")
    else:
        alarm = report.recommendation.evidence[0]
        assert re.search(r'in answers of "(normal|pneumonia)"', alarm)
        assert (
            "The error is one by class: when predicted classes are not told apart, the evidence "
            "was " in alarm
        )
        assert "of the 11.5 that an alarm takes, as a calibrated model may show too." in alarm


def test_an_alarm_says_where_since_when_and_what_to_do(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=QUICK) as monitored:
        label_answers(monitored, range(100), right=0.95, confidence=0.95)
        bad = label_answers(monitored, range(100, 400), right=0.5, confidence=0.95)
        recommendation = bad.recommendation
        assert recommendation.status is Status.ALARM
        assert recommendation.worried.startswith("Yes:")
        first = recommendation.evidence[0]
        assert bad.drift is not None
        assert bad.drift.alarm is not None
        since = bad.drift.alarm["since"]
        assert since["lower"] <= 101 <= since["upper"]
        assert f"The alarm was raised at label {bad.drift.alarm_label}, in " in first
        assert "one by class" not in first
        assert (
            f"The drift began around label {since['label']} (95 % interval {since['lower']} to "
            in first
        )
        assert "on an answer served on" in first
        assert recommendation.what_to_do == (
            f"Find out what changed around label {since['label']}: device, protocol, ward, "
            "patients or software.",
            "At this look accuracy is lower than on the card, and recalibration corrects "
            "confidence, not answers. If "
            "accuracy is now too low, roll back (`candor promote pneumonia VERSION`) or retrain.",
            "Recalibrate on the labels since then: `candor recalibrate pneumonia --last "
            f"{400 - since['label'] + 1}`, "
            "then `candor promote pneumonia VERSION`.",
            "Or fix the cause and acknowledge the alarm with a note (`POST "
            "/models/pneumonia/report/acknowledge`); the "
            "watch then starts again.",
        )
        assert any(
            re.fullmatch(
                r'In answers of "normal", confidence exceeds accuracy by \d+\.\d points \(\d+ '
                r"labels\): at this "
                r"look, at least \d+\.\d points after correcting for 2 comparisons\.",
                line,
            )
            for line in recommendation.evidence
        )
        assert bad.drift.streams[0].direction == "over"
        assert sum(stream.share for stream in bad.drift.streams) <= 1 + 1e-9
        json.dumps(bad.as_dict(), allow_nan=False)


def test_a_calibrated_model_that_became_inaccurate_is_a_clear_warning(
    monitored: MonitoredModel,
) -> None:
    """Confidence fell with accuracy, from 75 to 50 %: no alarm about confidence, and not "No.
    Nothing" either.
    """
    found = label_answers(monitored, range(400), right=0.5, confidence=0.5)
    assert found.status is Status.OK
    assert found.drift is not None
    assert not found.drift.active
    assert found.accuracy.answer == "lower"
    assert found.accuracy.headline.startswith("No: accuracy is lower, by at least ")
    told = found.recommendation
    assert told.worried.startswith("Yes, about accuracy: it is at least ")
    assert told.worried.endswith(
        " About confidence: no: chance alone can explain what the labels show."
    )
    assert found.accuracy.sentence in told.evidence
    assert told.what_to_do == (
        "Find out what changed: device, protocol, ward, patients, software, or who sets the "
        "labels.",
        "If accuracy is too low for its purpose, roll back (`candor promote pneumonia VERSION`) "
        "or retrain on such "
        "images. Recalibration corrects confidence, not answers.",
    )
    assert found.as_dict()["accuracy"]["answer"] == "lower"
    monitored.serve(*(make_row(n) for n in range(1_000, 1_100)))
    chosen = calibration_report(monitored.ledger, "pneumonia")
    assert chosen.accuracy.headline.startswith(
        "Among the labeled answers accuracy is lower, by at least "
    )
    assert (
        "if wrong or unsure answers are labeled more often than others" in chosen.accuracy.sentence
    )
    assert chosen.recommendation.what_to_do[0].startswith(
        "Find out how the labels were chosen, before anything else"
    )


def test_an_error_at_one_look_says_so_and_whether_looking_often_explains_it(
    monitored: MonitoredModel,
) -> None:
    small = label_answers(monitored, range(300), right=0.75, confidence=0.82)
    assert small.status is Status.OFF
    assert small.recommendation.worried.startswith(
        "Possibly: at this look, the labels show more error"
    )
    assert small.gap_at_every_look is not None
    assert not small.gap_at_every_look.excludes_zero
    assert any(
        line.startswith("Looking often can explain a difference in the mean")
        for line in small.recommendation.evidence
    )
    moving = calibration_report(monitored.ledger, "pneumonia", window="days:30")
    assert moving.gap_at_every_look is None
    assert any(line.startswith("This window moves.") for line in moving.recommendation.evidence)
    assert small.calm_evidence is not None
    assert 0.4 < small.calm_evidence.lower < small.calm_evidence.upper < 0.5


def test_accuracy_counts_audited_labels_alone_once_they_are_enough(
    monitored: MonitoredModel,
) -> None:
    """Chosen labels are right half of the time, audited ones three times in four, as on the
    card.
    """
    label_answers(monitored, range(400), right=0.5, confidence=0.75)
    mixed = label_answers(monitored, range(1_000, 1_400), right=0.75, audit=0.1)
    assert mixed.accuracy.audit
    assert (mixed.accuracy.n, mixed.accuracy.live) == (400, 0.75)
    assert mixed.accuracy.answer != "lower"
    assert "audited answers" in mixed.accuracy.sentence


def test_an_audit_is_quoted(monitored: MonitoredModel) -> None:
    found = label_answers(monitored, range(200), right=0.75, audit=0.1)
    assert any(
        "The random audit (200 labels) shows an ECE of 0.0 %; a calibrated" in line
        for line in found.recommendation.evidence
    )
    assert found.selection.audit is not None


def test_the_timeline_tells_all_versions_in_sentences(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=QUICK) as monitored:
        label_answers(monitored, range(100), right=0.5, confidence=0.95)
        clock.now_ns += 10**9
        monitored.recorder.acknowledge("pneumonia", note="lamp replaced").result(timeout=PATIENCE_S)
        clock.now_ns += 10**9
        monitored.recorder.acknowledge("pneumonia", kind="reset").result(timeout=PATIENCE_S)
        clock.now_ns += 10**9
        monitored.recorder.promote(monitored.recorder.register(make_card(version=2))).result(
            timeout=PATIENCE_S
        )
        with monitored.ledger.read() as connection:
            events = read_timeline(connection, "pneumonia")
            assert {
                event["version"] for event in read_timeline(connection, "pneumonia", version=2)
            } == {2}
            with pytest.raises(ModelNotInLedger):
                read_timeline(connection, "pneumonia", version=7)
    told = [(event["version"], event["kind"], event["sentence"]) for event in events]
    assert [entry[:2] for entry in told] == [
        (1, "started"),
        (1, "alarm"),
        (1, "acknowledged"),
        (1, "reset"),
        (2, "started"),
        (2, "promoted"),
    ]
    assert told[0][2] == (
        "The watch started: at least 1,000 labels between false alarms on average, tolerance "
        "1 point."
    )
    assert told[1][2].startswith("The alarm was raised at label ")
    assert told[2][2] == "The alarm was acknowledged after 100 labels: lamp replaced."
    assert told[3][2] == "The watch was reset without an alarm after 0 labels."
    assert events[0]["at"] == "2026-09-21T14:13:20+00:00"


def test_classes_that_err_in_opposite_directions_are_told_that_a_temperature_will_not_do(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=QUICK) as monitored:
        monitored.serve(*(make_row(n, confidence=0.75, predicted=n % 2) for n in range(400)))
        monitored.label(
            *(label(n, CLASSES[(n + (n % 2 == 1 and n % 4 == 1)) % 2]) for n in range(400))
        )
        advice = calibration_report(monitored.ledger, "pneumonia").recommendation.what_to_do
    assert any(
        'Confidence is too high in answers of "pneumonia" and too low in answers of "normal".'
        in line
        for line in advice
    )
