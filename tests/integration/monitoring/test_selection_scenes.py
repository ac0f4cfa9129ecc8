"""Labels that are chosen: what report, terminal and page say, where a careless sentence would
mislead.

Each scene is a seeded simulation of a model and of the people who label, on a real ledger.
"""

from pathlib import Path

import pytest

from monitoring.findings.status import Status
from tests.builders.answers import make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import (
    DRAWING,
    answers,
    calibrated,
    card,
    complained_about,
    serve,
    sure_and_wrong,
    tell,
    told,
)

FLAT = "Nothing for now."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_unsure_answers_only(path: Path, clock: Clock) -> None:
    """Overconfident where nobody looks: the answer is not "no", and selection alone is not a fall
    of accuracy.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(2_000, sure_and_wrong)
        serve(monitored, given)
        tell(monitored, [each for each in given if each.confidence < 0.8])
        found = told(monitored)
    assert found.report.status is Status.PARTLY
    assert found.says("Not checked: answers with a confidence of 0.80 to 1.00 (3")
    assert found.says("Not known for all answers: ")
    assert found.says(
        "Label some of the answers that are not checked: answers with a confidence of 0.80 to 1.00."
    )
    assert not found.says(FLAT)
    assert found.says("Not known: the labels are of other answers than the ones served")
    assert not found.says("Accuracy fell")
    assert not found.says("accuracy is lower")
    assert found.says(
        "Those are other answers than the ones served: their confidence differs, and that alone can"
    )
    assert found.says("have a confidence at which no answer is labeled")


def test_a_class_and_a_site_that_nobody_labels(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(1_000, calibrated)
        rows = (
            make_row(each.number, confidence=each.confidence, predicted=each.predicted)
            for each in given
        )
        sites = ("AB"[each.chance < 0.3] for each in given)
        monitored.serve(
            *(
                row._replace(tags=f'{{"site": "{site}"}}')
                for row, site in zip(rows, sites, strict=True)
            )
        )
        tell(monitored, [each for each in given if each.chance >= 0.3 and each.predicted == 1])
        found = told(monitored)
    assert found.report.status is Status.PARTLY
    assert found.says('answers of "normal" (')
    assert found.says("answers with site=B (")
    assert not found.says(FLAT)


def test_complaints_about_a_perfect_model(path: Path, clock: Clock) -> None:
    """The alarm is a false one: selection is named as a rival cause, and recalibration is not the
    first advice.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given)
        tell(monitored, complained_about(given))
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.says(
        "Probably: the drift alarm is active. Either confidence no longer matches accuracy, or "
        "the labels"
    )
    assert found.says("The choice of the labels is a rival cause: ")
    assert found.says("if its labels are not chosen by whether it was right.")
    assert found.advice[0].startswith(
        "First tell the causes apart: label a random sample of recent answers"
    )
    recalibrate = [line for line in found.advice if "candor recalibrate" in line]
    assert [
        line.startswith("Only if a fair sample shows the error too: recalibrate")
        for line in recalibrate
    ] == [True]
    assert not found.says("Accuracy fell")
    assert not found.says("No: accuracy is lower")
    assert found.says("Among the labeled answers accuracy is lower, by at least ")
    assert found.says("not known of all answers")
    assert found.says("a choice of labels by outcome can explain that too")
    assert found.says("If all others were wrong, accuracy would be ")


def test_complaints_beside_an_audit(path: Path, clock: Clock) -> None:
    """The audit decides: no alarm, and every figure is that of a calibrated model."""
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given, audit=True)
        tell(monitored, complained_about([each for each in given if not each.drawn]))
        tell(monitored, [each for each in given if each.drawn])
        found = told(monitored)
    drawn = sum(each.drawn for each in given)
    report = found.report
    assert report.status is Status.OK
    assert report.measures.n == drawn
    assert report.measures.signed_gap == pytest.approx(0, abs=0.03)
    assert found.says(f"In {drawn} labeled answers drawn for the random audit, confidence ")
    assert found.says(f"{drawn} of {drawn} answers drawn for the random audit have a label.")
    assert not found.says("rival cause")
    assert not found.says("Accuracy fell")
    assert not report.comparison.accuracy_as_served.significant
    assert report.slices is not None
    assert {each.n for each in report.slices.known} == {
        sum(each.drawn and each.predicted == predicted for each in given) for predicted in (0, 1)
    }
    assert found.says(FLAT)


def test_an_audit_finds_what_chosen_labels_hide(path: Path, clock: Clock) -> None:
    """Right answers are labeled more often, so that all labels together look fine; the audit shows
    the error.
    """
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(6_000, lambda p: p - 0.1)
        serve(monitored, given, audit=True)
        tell(monitored, [each for each in given if each.drawn])
        flattering = [
            each for each in given if not each.drawn and (each.right or each.chance < 0.4)
        ]
        tell(monitored, flattering)
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.report.measures.signed_gap == pytest.approx(0.1, abs=0.03)
    assert found.says("drawn for the random audit, confidence exceeds accuracy by ")
    assert found.says("Yes: the drift alarm is active, and false alarms are rare.")
    assert not found.says("rival cause")
    assert found.says("No: accuracy is lower, by at least ")
    assert found.advice[0].startswith("Find out what changed around label ")


def test_an_alarm_from_before_the_audit_is_cleared_by_it(path: Path, clock: Clock) -> None:
    given = answers(3_000, calibrated)
    with MonitoredModel(path, clock, card=card()) as monitored:
        serve(monitored, given[:1_500])
        tell(monitored, complained_about(given[:1_500]))
        assert told(monitored).report.status is Status.ALARM
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        serve(monitored, given[1_500:], audit=True)
        tell(monitored, [each for each in given[1_500:] if each.drawn])
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.says(
        "Hardly: the drift alarm is active, but chance alone can explain what the random audit "
        "shows."
    )
    assert found.advice[0].endswith("Do not recalibrate on the chosen labels.")


def test_half_of_the_audit_has_no_label(path: Path, clock: Clock) -> None:
    """Half missing is a finding, although the other half looks fine."""
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given, audit=True)
        drawn = [each for each in given if each.drawn]
        tell(monitored, drawn[::2])
        found = told(monitored)
    assert found.report.status is Status.PARTLY
    assert found.says(
        f"{len(drawn[::2])} of {len(drawn)} answers drawn for the random audit have a label. 49.9 "
        "% of"
    )
    assert found.says("if that depends on the outcome, the audit is biased like any other choice.")
    assert found.says(
        f"Label the {len(drawn[1::2])} answers drawn for the audit that have no label."
    )
    assert not found.says(FLAT)


def test_the_half_of_the_audit_that_is_wrong_has_labels(path: Path, clock: Clock) -> None:
    """Complaints within the audit: an alarm whose rival cause is what is missing."""
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given, audit=True)
        tell(
            monitored,
            [each for each in given if each.drawn and (not each.right or each.chance < 0.3)],
        )
        found = told(monitored)
    assert found.report.status is Status.ALARM
    assert found.says(
        "of the answers drawn for the audit have no label, long after they were drawn. "
    )
    assert found.advice[0].startswith("First tell the causes apart: label the ")
    assert not found.says("Accuracy fell")


def test_a_replica_without_the_setting_changes_nobody_who_is_heard(
    path: Path, clock: Clock
) -> None:
    given = answers(3_000, calibrated)
    with (
        MonitoredModel(path, clock, card=card(), settings=DRAWING) as drawing,
        MonitoredModel(path, clock, card=card()) as replica,
    ):
        serve(drawing, given[:1_500], audit=True)
        serve(replica, given[1_500:])
        heard = [each for each in given[:1_500] if each.drawn]
        tell(replica, complained_about([each for each in given if each not in heard]))
        tell(replica, heard)
        found = told(replica)
        stored, _ = replica.detectors()
    assert stored.settings.audit
    assert stored.labels == found.report.measures.n == len(heard)
    assert found.report.status is Status.OK


def test_a_watch_of_audited_answers_that_nobody_draws_says_so(path: Path, clock: Clock) -> None:
    given = answers(1_000, calibrated)
    with MonitoredModel(path, clock, card=card(), settings=DRAWING) as monitored:
        serve(monitored, given)
        tell(monitored, given)
        found = told(monitored)
    assert found.says(
        "The drift watch uses audited answers only, and none was drawn in this window: it watches "
        "nothing."
    )
    assert found.says(
        'Set CANDOR_AUDIT_SHARE where the model is served, and label every answer with "audit": '
        "true; or let all"
    )
    assert not found.says(FLAT)


def test_harder_cases(path: Path, clock: Clock) -> None:
    """Harder images, still calibrated, all labeled: confidence can be believed, and accuracy did
    fall.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(2_000, calibrated, highest=0.75)
        serve(monitored, given)
        tell(monitored, given)
        found = told(monitored)
    assert found.report.status is Status.OK
    assert found.says("Yes, about accuracy: it is at least ")
    assert found.says("About confidence: no: chance alone can explain what the labels show.")
    assert found.says("No: accuracy is lower, by at least ")
    assert not found.says("rival cause")
    assert not found.says("Not checked")
    assert not found.says(FLAT)
    assert not found.says("candor recalibrate")


def test_a_fair_sample_needs_no_caution(path: Path, clock: Clock) -> None:
    """One in five, at random: a plain "no", although nobody can see from the labels that they are a
    fair sample.
    """
    with MonitoredModel(path, clock, card=card()) as monitored:
        given = answers(3_000, calibrated)
        serve(monitored, given)
        tell(monitored, [each for each in given if each.chance < 0.2])
        found = told(monitored)
    assert found.report.status is Status.OK
    assert found.says("No: chance alone can explain what the labels show.")
    assert not found.says("Not checked")
    assert not found.says("rival cause")
    assert not found.says("candor recalibrate")
