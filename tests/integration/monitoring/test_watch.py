"""The drift watch of all answers, of tags and of patients: exact, replayed bit for bit, bounded."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from model_store.errors import TagsInvalid
from monitoring.drift import events, watch
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import LedgerError, TagNotWatched
from monitoring.feedback import FeedbackItem
from monitoring.ledger.schema import APART_NS, patient_bet, prediction
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check, repair
from monitoring.maintenance.retention import prune
from monitoring.reports.report import calibration_report
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_card, make_row
from tests.builders.answers import prediction_id as id_of
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, assert_same_state
from tests.builders.processes import PATIENCE_S, candor_here

DATABASES = BOTH_DATABASES
QUICK = DriftSettings(average_run_length=1_000)
AUDITED = replace(QUICK, audit=True)
SITES = TagSettings(("site",))
quick = pytest.mark.world(settings=QUICK)
of_sites = pytest.mark.world(settings=QUICK, tags=SITES)
Reopen = Callable[..., MonitoredModel]


def wrong(monitored: MonitoredModel, numbers: Sequence[int], **how: float) -> None:
    """Serve answers of .95 and label them as wrong."""
    monitored.answer(numbers, confidence=0.95, wrong=1, **how)


def answer(
    monitored: MonitoredModel, numbers: Sequence[int], *, site: str | None, wrong: int = 0
) -> None:
    tags = None if site is None else json.dumps({"site": site})
    monitored.answer(numbers, wrong=wrong, tags=tags)


def stored(monitored: MonitoredModel) -> dict[str, DriftDetector]:
    """The detectors by their slices; each is what its replay says."""
    with monitored.ledger.read() as connection:
        found = watch.load_all(connection, monitored.watched_version_id)
    return {each.name: monitored.replayed(each.name) for each in found}


def told(monitored: MonitoredModel, name: str = "") -> list[tuple[str, int]]:
    with monitored.ledger.read() as connection:
        found = events.read(connection, monitored.watched_version_id, name)
    return [(each.kind, each.feedback_id) for each in found]


@quick
def test_an_alarm_is_an_event_at_its_label_and_stands_until_it_is_acknowledged(
    monitored: MonitoredModel, reopen: Reopen
) -> None:
    wrong(monitored, range(20))
    raised_at = DriftDetector(replace(QUICK, class_count=2)).update_many(
        [0.95] * 20, [False] * 20, [1] * 20
    )
    assert raised_at is not None
    # feedback ids count from 1
    alarm = [("started", 0), ("alarm", raised_at + 1)]
    assert told(monitored) == alarm
    assert monitored.metric("calibration_drift_alarms_total") == 1
    wrong(monitored, range(20, 30))  # latched: no second alarm
    before = monitored.replayed()
    assert told(monitored) == alarm
    assert (before.active, before.direction, before.alarm_label) == (True, "over", raised_at + 1)
    again = reopen(settings=QUICK)
    assert_same_state(again.detectors()[0], before)
    assert again.metric("calibration_drift_active") == 1
    # this process's own increments
    assert again.metric("calibration_drift_alarms_total") == 0
    assert again.metric("calibration_drift_log_evalue") == before.log_evalue
    row, [(watched, _)] = again.recorder.acknowledge("pneumonia", note="replaced").result()
    assert (row.version, watched.detector.active, watched.detector.labels) == (1, False, 0)
    assert again.metric("calibration_drift_active") == 0
    wrong(again, range(30, 32))
    assert again.replayed().labels == 2
    with again.ledger.read() as connection:
        detail = events.read(connection, again.watched_version_id)[-1].detail
    assert detail == {"note": "replaced", "was_active": True, "labels": 30}
    again.recorder.acknowledge("pneumonia", kind=events.RESET).result()
    wrong(again, range(40, 75))
    assert [kind for kind, _ in told(again)[2:]] == ["acknowledged", "reset", "alarm"]
    assert again.replayed().active


@pytest.mark.parametrize(
    ("before", "after", "class_count"),
    [
        (DriftSettings(tolerance=0.05), DriftSettings(tolerance=0.0), 2),
        (DriftSettings(), DriftSettings(class_wise=False), 0),
    ],
)
def test_other_settings_hold_for_the_labels_to_come(
    reopen: Reopen, before: DriftSettings, after: DriftSettings, class_count: int
) -> None:
    wrong(reopen(settings=before), range(3))
    monitored = reopen(settings=after)
    wrong(monitored, range(3, 5))
    assert told(monitored) == [("started", 0), ("settings", 3)]
    found = monitored.replayed()
    assert (found.settings.class_count, found.labels) == (class_count, 5)
    if not class_count:
        alone = DriftDetector(after)
        alone.update_many([0.95] * 5, [False] * 5)
        assert_same_state(found, alone)
    back = reopen(settings=before)
    wrong(back, range(5, 7))
    assert told(back)[-1] == ("settings", 5)
    assert (back.replayed().settings.class_count, back.replayed().labels) == (2, 7)
    back.recorder.acknowledge("pneumonia", 1, kind=events.RESET).result()
    wrong(back, range(7, 9))
    assert back.replayed().labels == 2


@pytest.mark.parametrize("kept", ["monitor_state SET settings", "monitor_event SET detail"])
@pytest.mark.parametrize(
    ("old", "new"),
    [('"tolerance"', '"bin_count": 10, "tolerance"'), ('"class_wise"', '"by_class"')],
)
def test_settings_of_another_release_are_refused_by_name(
    monitored: MonitoredModel, ledger_url: str, kept: str, old: str, new: str
) -> None:
    column = kept.split()[-1]
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql(f"UPDATE {kept} = replace({column}, '{old}', '{new}')")
    asked = candor_here("ledger", "check", "--ledger", ledger_url)
    assert isinstance(asked.exception, LedgerError)
    assert "bin_count" in str(asked.exception) or "by_class, class_wise" in str(asked.exception)


def test_a_calibration_without_a_watch_gets_one_with_its_first_label(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(make_row(1))
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM monitor_state")
        connection.exec_driver_sql("DELETE FROM monitor_event")
    with pytest.raises(LookupError):
        monitored.recorder.acknowledge("pneumonia").result()
    monitored.label(label(1))
    assert monitored.replayed().labels == 1


@quick
def test_the_alarm_names_the_stream_and_the_direction(monitored: MonitoredModel) -> None:
    """Answers 'pneumonia' go wrong after 60 labels, answers 'normal' stay right."""
    said = [number % 2 for number in range(200)]
    monitored.serve(*(make_row(number, predicted=k) for number, k in enumerate(said)))
    wrong = [n % 20 in (10, 11) or (n > 60 and k == 1 and n % 3 > 0) for n, k in enumerate(said)]
    true = (CLASSES[k != no] for k, no in zip(said, wrong, strict=True))
    monitored.label(*(label(number, name) for number, name in enumerate(true)))
    with monitored.ledger.read() as connection:
        kept = events.read(connection, monitored.watched_version_id)
    raised = events.latest(kept, events.ALARM)
    detail = raised.detail
    assert (detail["stream"], detail["index"], detail["name"]) == ("class", 1, "pneumonia")
    assert (detail["direction"], detail["labels"]) == ("over", raised.feedback_id)


@pytest.mark.world(settings=AUDITED)
def test_where_audits_are_drawn_only_their_labels_are_evidence_until_a_reset_says_otherwise(
    monitored: MonitoredModel, ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock, settings=QUICK) as replica:  # joins it as it is
        wrong(replica, range(30))
        assert told(replica) == [("started", 0)]
    wrong(monitored, range(30, 60))
    assert monitored.replayed().labels == 0
    wrong(monitored, range(100, 130), audit=0.1)
    found = monitored.replayed()
    assert (found.labels, found.active) == (30, True)
    monitored.recorder.acknowledge("pneumonia", kind=events.RESET).result()
    assert monitored.detectors()[0].settings.audit
    monitored.recorder.acknowledge("pneumonia", kind=events.RESET, audit=False).result()
    kinds = [kind for kind, _ in told(monitored)]
    assert kinds == ["started", "alarm", "reset", "settings", "reset"]
    wrong(monitored, range(200, 205))
    found = monitored.replayed()
    assert (found.labels, found.settings.audit) == (5, False)


@quick
def test_a_process_that_draws_turns_the_watch_to_audited_answers(
    monitored: MonitoredModel, ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock, settings=AUDITED):
        pass
    wrong(monitored, range(30))
    assert told(monitored) == [("started", 0), ("settings", 0)]
    assert monitored.detectors()[0].labels == 0


# Tags


@pytest.mark.world(settings=QUICK, tags=TagSettings(("site", "device")))
def test_each_value_has_a_detector_that_sees_its_labels_and_half_of_the_false_alarms(
    monitored: MonitoredModel,
) -> None:
    answer(monitored, range(30), site="A", wrong=10)
    answer(monitored, range(30, 50), site="B", wrong=2)
    answer(monitored, range(50, 60), site=None)
    found = stored(monitored)
    labels = {name: each.labels for name, each in found.items()}
    assert labels == {"": 60, "tag:site=A": 30, "tag:site=B": 20}
    assert found[""].log_threshold == pytest.approx(math.log(1_000 / 0.5))
    # two keys share the half
    assert found["tag:site=A"].log_threshold == pytest.approx(math.log(1_000 / 0.25))
    expected = DriftDetector(replace(QUICK, class_count=2, part=0.25))
    expected.update_many([0.9] * 20, [n % 2 != 0 for n in range(30, 50)], [1] * 20)
    assert_same_state(found["tag:site=B"], expected)
    (second,) = monitored.recorder.register(make_card(version=2))  # starts without them
    with monitored.ledger.read() as connection:
        assert [each.name for each in watch.load_all(connection, second)] == [""]
    assert check(monitored.ledger).agrees


@of_sites
def test_one_site_in_alarm_is_acknowledged_by_itself(monitored: MonitoredModel) -> None:
    answer(monitored, range(200), site="A", wrong=10)
    answer(monitored, range(200, 230), site="B", wrong=1)
    assert [name for name, each in stored(monitored).items() if each.active] == ["", "tag:site=B"]
    assert monitored.metric("calibration_drift_alarms_total") == 2
    active = [monitored.metric("calibration_drift_tag_active", tag=f"site={it}") for it in "AB"]
    assert active == [0, 1]
    lamp = monitored.recorder.acknowledge("pneumonia", named=[(None, "site=B")], note="lamp")
    [(acknowledged, _)] = lamp.result(PATIENCE_S)[1]
    assert (acknowledged.detector.active, acknowledged.detector.labels) == (False, 0)
    assert [name for name, each in stored(monitored).items() if each.active] == [""]
    answer(monitored, range(230, 235), site="B", wrong=1)
    assert monitored.replayed("tag:site=B").labels == 5
    with pytest.raises(TagNotWatched, match="site=C"):
        monitored.recorder.acknowledge("pneumonia", named=[(None, "site=C")]).result(PATIENCE_S)
    assert [kind for kind, _ in told(monitored, "tag:site=B")][-1] == "acknowledged"


def test_settings_of_tags_belong_to_the_ledger_and_change_for_the_labels_to_come(
    reopen: Reopen,
) -> None:
    monitored = reopen(tags=TagSettings(("site",), {"site=B": 0.05}))
    answer(monitored, range(4), site="A")
    answer(monitored, range(4, 8), site="B")
    assert {each.settings.tolerance for each in stored(monitored).values()} == {0.025, 0.05}
    joined = reopen()  # without the setting: the watches go on
    answer(joined, range(8, 10), site="B")
    assert stored(joined)["tag:site=B"].labels == 6
    assert "settings" not in [kind for kind, _ in told(joined)]
    changed = reopen(tags=TagSettings(("site", "ward"), {"site": 0.03}))
    answer(changed, range(10, 14), site="A")
    found = stored(changed)["tag:site=A"]
    assert (found.settings.tolerance, found.labels) == (0.03, 8)
    ended = reopen(tags=TagSettings())
    assert ended.detectors()[0].settings.part == 1
    answer(ended, range(14, 16), site="A")
    assert list(stored(ended)) == [""]
    again = reopen(tags=SITES)
    answer(again, range(16, 18), site="A")
    assert stored(again)["tag:site=A"].labels == 2
    assert check(again.ledger).agrees


@of_sites
def test_an_early_label_counts_for_its_tag(monitored: MonitoredModel) -> None:
    """It arrives before its answer, which is the first with this tag."""
    early = label(0)._replace(prediction_id=None, request_id="r", model="pneumonia")
    assert monitored.label(early) == ["pending"]
    monitored.serve(make_row(0, request_id="r")._replace(tags='{"site": "A"}'))
    assert stored(monitored)["tag:site=A"].labels == 1
    assert check(monitored.ledger).agrees


@pytest.mark.world(settings=DriftSettings(audit=True), tags=SITES)
def test_audited_answers_alone_count_for_tags_too(monitored: MonitoredModel) -> None:
    rows = [make_row(n)._replace(tags='{"site": "A"}') for n in range(10)]
    monitored.serve(*(row._replace(audit=0.5 if n % 2 else None) for n, row in enumerate(rows)))
    monitored.label(*(label(n) for n in range(10)))
    assert [each.labels for each in stored(monitored).values()] == [5, 5]
    monitored.recorder.acknowledge("pneumonia", kind="reset", audit=False).result(PATIENCE_S)
    assert not any(each.settings.audit for each in stored(monitored).values())
    answer(monitored, range(10, 13), site="A")
    # the label count goes on, the evidence started again
    assert stored(monitored)["tag:site=A"].labels == 8


@of_sites
def test_a_recount_repairs_them_and_pruning_and_erasure_leave_them(
    monitored: MonitoredModel, clock: Clock
) -> None:
    answer(monitored, range(10), site="A", wrong=3)
    answer(monitored, range(10, 12), site="B")
    before = stored(monitored)
    with monitored.ledger.write() as connection:
        watched = watch.load(connection, monitored.watched_version_id, "tag:site=A")
        watched.detector.update(0.9, False, 1)
        watched.save(connection)
    assert check(monitored.ledger).differing == {"monitor_state": 1}
    repair(monitored.ledger)
    for name, detector in before.items():
        assert_same_state(stored(monitored)[name], detector)
    for number in (10, 11):
        forget(monitored.ledger, prediction_id=id_of(number))
    for table in ("monitor_state", "monitor_event"):
        assert not monitored.rows(
            f"SELECT 1 FROM {table} WHERE slice LIKE '%B%'".replace("%", "%%")
        )
    assert check(monitored.ledger).agrees
    clock.now_ns += 40 * DAY_NS
    prune(monitored.ledger, older_than_s=86_400)
    assert check(monitored.ledger).agrees
    assert_same_state(stored(monitored)["tag:site=A"], before["tag:site=A"])


@pytest.mark.parametrize(
    ("keys", "tolerances", "message"),
    [
        (("a", "b", "c", "d"), {}, "at most 3 different keys"),
        (("site", "site"), {}, "at most 3 different keys"),
        (("si te",), {}, "at most 3 different keys"),
        (("site",), {"ward=1": 0.1}, "'ward=1' has a tolerance, but its key is not among"),
        (("site",), {"site": 1.5}, "the tolerance of 'site' is 1.5"),
    ],
)
def test_settings_that_cannot_be(
    keys: tuple[str, ...], tolerances: dict[str, float], message: str
) -> None:
    with pytest.raises(TagsInvalid, match=message):
        TagSettings(keys, tolerances)


# Patients, who have one bet, however the labels of their images arrive


def serve(
    monitored: MonitoredModel, numbers: Sequence[int], patient: str | None, *, at_ns: int = NOW_NS
) -> None:
    code = monitored.recorder.patients.hash(patient)
    monitored.serve(
        *(
            make_row(n, request_id=str(n), served_at_ns=at_ns)._replace(
                patient=code, tags=f'{{"site": "{"AB"[n % 2]}"}}'
            )
            for n in numbers
        )
    )


def miss(monitored: MonitoredModel, *numbers: int, at_ns: int = NOW_NS) -> None:
    """Label answers of "pneumonia" as wrong, in one transaction."""
    said = monitored.label(*(label(each, "normal", at_ns=at_ns) for each in numbers))
    assert set(said) == {"accepted"}


def evidence(monitored: MonitoredModel) -> tuple[int, float]:
    """Of all answers; detectors of sites agree with their replay, and all with a recount."""
    found = stored(monitored)[""]
    assert check(monitored.ledger).agrees
    return found.labels, found.log_evalue


def expected(*bets: int) -> float:
    """The evidence of wrong answers that share these bets."""
    detector = DriftDetector(replace(QUICK, class_count=2, part=0.5))
    n = len(bets)
    detector.update_many([0.9] * n, [False] * n, [1] * n, bets)
    return detector.log_evalue


@of_sites
def test_images_labeled_together_share_a_bet_and_later_ones_have_none(
    monitored: MonitoredModel,
) -> None:
    serve(monitored, range(8), "MRN-1")
    serve(monitored, range(8, 10), "MRN-2")
    serve(monitored, range(10, 12), None)
    miss(monitored, 0, 8, 1, 10, 2)  # two patients and one answer without
    before = evidence(monitored)
    assert before == (3, pytest.approx(expected(1, 1, 1, 2, 3)))
    miss(monitored, 3, 9, 4)
    assert evidence(monitored) == before
    miss(monitored, 11)
    assert evidence(monitored)[0] == 4


@of_sites
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
    miss(monitored, 3)
    assert evidence(monitored)[0] == 3
    first, second = (monitored.recorder.patients.hash(each) for each in ("MRN-1", "MRN-2"))
    with monitored.ledger.read() as connection:
        by_name = select(prediction.c.patient).order_by(prediction.c.request_id)
        assert connection.scalars(by_name).all() == [*[first] * 3, None, None, second, first]


@of_sites
def test_a_patient_bets_again_after_half_a_year(monitored: MonitoredModel, clock: Clock) -> None:
    clock.now_ns = later_ns = NOW_NS + APART_NS + 1
    for number, at_ns, bets in ((0, NOW_NS, 1), (1, later_ns - 2, 1), (2, later_ns, 2)):
        serve(monitored, [number], "MRN-1", at_ns=at_ns)
        miss(monitored, number, at_ns=at_ns)
        assert evidence(monitored)[0] == bets


@of_sites
def test_an_alarm_names_the_bet_and_counts_bets(monitored: MonitoredModel) -> None:
    for patient in range(20):
        serve(monitored, range(3 * patient, 3 * patient + 3), f"MRN-{patient}")
    miss(monitored, *range(60))
    (alarm,) = (at for kind, at in told(monitored) if kind == events.ALARM)
    with monitored.ledger.read() as connection:
        assert alarm in set(connection.scalars(select(patient_bet.c.bet)))
    found = monitored.detectors()[0]
    assert found.active
    assert found.alarm_label is not None
    assert found.alarm_label <= found.labels == 20


def test_patients_that_nobody_names_are_suspected(monitored: MonitoredModel) -> None:
    names = [f"p{number // 4}_{number % 4}.png" for number in range(300)]
    monitored.serve(*(make_row(number, request_id=name) for number, name in enumerate(names)))
    monitored.label(*(label(n, CLASSES[int(n // 4 % 10 > 0)]) for n in range(300)))
    diagnosis = calibration_report(monitored.ledger, monitored.card.name).diagnosis
    assert [each.code for each in diagnosis.actions] == ["send_patients"]
    (rival,) = (each for each in diagnosis.rivals if each.cause == "patients")
    assert (rival.status, rival.needs_kind) == ("possible", "patient_codes")


@of_sites
def test_an_erased_image_leaves_no_hash_and_pruning_keeps_recent_ones(
    monitored: MonitoredModel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.maintenance.retention._PORTION", 1)
    for numbers, patient in (([0, 1], "MRN-1"), ([2], "MRN-2"), ([3], "MRN-3")):
        serve(monitored, numbers, patient)
    miss(monitored, 0, 1, 2, 3)

    def hashes() -> int:
        assert monitored.replayed().labels == 3
        with monitored.ledger.read() as connection:
            return connection.scalar(select(func.count()).select_from(patient_bet)) or 0

    assert hashes() == 4
    forget(monitored.ledger, request_id="0")
    assert hashes() == 3
    for later_ns, left in ((90 * DAY_NS, 3), (APART_NS, 0)):
        clock.now_ns += later_ns
        prune(monitored.ledger, older_than_s=30 * 86_400)
        assert hashes() == left
