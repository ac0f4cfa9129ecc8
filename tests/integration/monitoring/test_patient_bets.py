"""The drift watch gives a patient one bet, however the labels of the patient's images arrive."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from sqlalchemy import func, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.drift import events, watch
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger.schema import APART_NS, patient_bet, prediction
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check
from monitoring.maintenance.retention import prune
from monitoring.reports.report import calibration_report
from tests.builders.answers import NOW_NS, label, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel
from tests.builders.monitored import assert_same_state as assert_same

DATABASES = BOTH_DATABASES
SETTINGS = DriftSettings(average_run_length=1000)


@pytest.fixture
def monitored(ledger_url: str) -> Iterator[MonitoredModel]:
    tags = TagSettings(("site",))
    with MonitoredModel(ledger_url, Clock(), settings=SETTINGS, tags=tags) as opened:
        yield opened


def serve(
    monitored: MonitoredModel, numbers: Sequence[int], patient: str | None, *, at_ns: int = NOW_NS
) -> None:
    code = monitored.recorder.patients.hash(patient)
    monitored.serve(
        *(
            make_row(
                number,
                watched_version_id=monitored.watched_version_id,
                request_id=str(number),
                served_at_ns=at_ns,
            )._replace(patient=code, tags=f'{{"site": "{"AB"[number % 2]}"}}')
            for number in numbers
        )
    )


def wrong(monitored: MonitoredModel, *numbers: int, at_ns: int = NOW_NS) -> None:
    """Label answers, of "pneumonia", in one transaction."""
    assert set(monitored.label(*(label(each, "normal", at_ns=at_ns) for each in numbers))) == {
        "accepted"
    }


def assert_same_state(monitored: MonitoredModel, name: str = "") -> None:
    assert_same(*monitored.detectors(name=name))


def evidence(monitored: MonitoredModel) -> tuple[int, float]:
    with monitored.ledger.read() as connection:
        watched = watch.load(connection, monitored.watched_version_id)
    return watched.detector.labels, watched.detector.log_evalue


def expected(*bets: int) -> float:
    """The evidence of wrong answers that share these bets."""
    detector = DriftDetector(DriftSettings(average_run_length=1000, class_count=2))
    n = len(bets)
    detector.update_many([0.9] * n, [False] * n, [1] * n, bets)
    return detector.log_evalue


def test_images_labeled_together_share_a_bet_and_later_ones_have_none(
    monitored: MonitoredModel,
) -> None:
    serve(monitored, range(8), "MRN-1")
    serve(monitored, range(8, 10), "MRN-2")
    serve(monitored, range(10, 12), None)
    wrong(monitored, 0, 8, 1, 10, 2)  # two patients and one answer without
    assert evidence(monitored) == (3, pytest.approx(expected(1, 1, 1, 2, 3)))
    before = evidence(monitored)
    wrong(monitored, 3, 9, 4)
    assert evidence(monitored) == before
    wrong(monitored, 11)
    assert evidence(monitored)[0] == 4
    for name in ("", "tag:site=A", "tag:site=B"):
        assert_same_state(monitored, name)
    assert not check(monitored.ledger).differences


def test_a_label_names_the_patient_of_an_answer_that_has_none(monitored: MonitoredModel) -> None:
    serve(monitored, range(5), None)
    serve(monitored, [5], "MRN-2")
    named = [label(each, "normal")._replace(patient="MRN-1") for each in (0, 1, 2, 5)]
    assert monitored.label(*named) == ["accepted"] * 4
    # 5 keeps the patient that it was served with
    assert evidence(monitored) == (2, pytest.approx(expected(1, 1, 1, 2)))
    early = FeedbackItem("normal", model=monitored.card.name, request_id="9", patient="MRN-1")
    assert monitored.label(early) == ["pending"]
    serve(monitored, [9], None)
    wrong(monitored, 3)
    assert evidence(monitored)[0] == 3
    hashes = [monitored.recorder.patients.hash(each) for each in ("MRN-1", "MRN-2")]
    with monitored.ledger.read() as connection:
        stored = connection.scalars(
            select(prediction.c.patient).order_by(prediction.c.request_id)
        ).all()
    assert stored == [hashes[0]] * 3 + [None] * 2 + [hashes[1], hashes[0]]
    for name in ("", "tag:site=A", "tag:site=B"):
        assert_same_state(monitored, name)
    assert not check(monitored.ledger).differences


def test_a_patient_bets_again_after_half_a_year(monitored: MonitoredModel) -> None:
    later_ns = NOW_NS + APART_NS + 1
    monitored.ledger.clock.now_ns = later_ns
    serve(monitored, [0], "MRN-1")
    serve(monitored, [1], "MRN-1", at_ns=later_ns - 2)
    serve(monitored, [2], "MRN-1", at_ns=later_ns)
    wrong(monitored, 0)
    wrong(monitored, 1, at_ns=later_ns - 2)
    assert evidence(monitored)[0] == 1
    wrong(monitored, 2, at_ns=later_ns)
    assert evidence(monitored)[0] == 2
    assert_same_state(monitored)


def test_an_alarm_names_the_bet_and_counts_bets(monitored: MonitoredModel) -> None:
    for patient in range(20):
        numbers = range(3 * patient, 3 * patient + 3)
        serve(monitored, numbers, f"MRN-{patient}")
    wrong(monitored, *range(60))
    with monitored.ledger.read() as connection:
        watched = watch.load(connection, monitored.watched_version_id)
        (alarm,) = [
            event
            for event in events.read(connection, monitored.watched_version_id)
            if event.kind == events.ALARM
        ]
        bets = set(connection.scalars(select(patient_bet.c.bet)))
    assert alarm.feedback_id in bets
    assert watched.detector.active
    assert watched.detector.alarm_label is not None
    assert watched.detector.alarm_label <= watched.detector.labels == 20


def test_patients_that_nobody_names_are_suspected(monitored: MonitoredModel) -> None:
    for number in range(300):
        row = make_row(
            number,
            watched_version_id=monitored.watched_version_id,
            request_id=f"p{number // 4}_{number % 4}.png",
        )
        monitored.serve(row)
    names = ["pneumonia" if number // 4 % 10 else "normal" for number in range(300)]
    monitored.label(*map(label, range(300), names))
    diagnosis = calibration_report(monitored.ledger, monitored.card.name).diagnosis
    assert [each.code for each in diagnosis.actions] == ["send_patients"]
    (rival,) = (each for each in diagnosis.rivals if each.cause == "patients")
    assert (rival.status, rival.needs_kind) == ("possible", "patient_codes")


def test_an_erased_image_leaves_no_hash_and_pruning_keeps_recent_ones(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.maintenance.retention._PORTION", 1)
    for numbers, patient in (([0, 1], "MRN-1"), ([2], "MRN-2"), ([3], "MRN-3")):
        serve(monitored, numbers, patient)
    wrong(monitored, 0, 1, 2, 3)

    def hashes() -> int:
        with monitored.ledger.read() as connection:
            return connection.scalar(select(func.count()).select_from(patient_bet)) or 0

    assert hashes() == 4
    forget(monitored.ledger, request_id="0")
    assert hashes() == 3
    assert_same_state(monitored)
    monitored.ledger.clock.now_ns += 90 * 86_400_000_000_000
    prune(monitored.ledger, older_than_s=30 * 86_400)
    assert hashes() == 3
    monitored.ledger.clock.now_ns += APART_NS
    prune(monitored.ledger, older_than_s=30 * 86_400)
    assert hashes() == 0
    assert_same_state(monitored)


def test_alike_images_of_many_patients_bet_once_each(ledger_url: str) -> None:
    rng = np.random.default_rng(5)
    with MonitoredModel(ledger_url, Clock()) as monitored:
        sure = rng.random(60) < 0.9
        for patient in range(60):
            serve(monitored, range(4 * patient, 4 * patient + 4), f"MRN-{patient}")
        for half in ((0, 1), (2, 3)):
            numbers = [
                4 * patient + image for patient in rng.permutation(60).tolist() for image in half
            ]
            names = ["pneumonia" if sure[number // 4] else "normal" for number in numbers]
            monitored.label(*map(label, numbers, names))
        assert evidence(monitored)[0] == 60
        assert_same_state(monitored)
