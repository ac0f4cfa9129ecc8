"""Figures of live answers: gauges, operating points, versions side by side, estimates."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.exc import OperationalError

from calibration.bins import BinSums
from calibration.diagnosis.facts import AnswerGroup
from calibration.drift.state import DriftSettings
from calibration.measures import metrics
from calibration.measures.confusion import confusion_matrix
from calibration.measures.expected_confusion import ProbabilitySums, expected_confusion
from calibration.measures.summary import Measures
from calibration.operating.facts import OperatingPoints, RateName, RateStanding
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingPromise, Rate
from monitoring.diagnosis.expected_performance import EstimateStatus, ExpectedPerformance
from monitoring.diagnosis.facts import ActionCode, State, StateReason
from monitoring.diagnosis.live_comparison import comparison_words
from monitoring.diagnosis.lower_rates import OPERATING, note_lower_rates
from monitoring.diagnosis.words import estimate_words, words_of
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.ledger.versions import VISIBLE_VERSIONS
from monitoring.maintenance.retention import prune
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.reports.report import Report, calibration_report, compare_live_versions
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    label,
    make_card,
    make_row,
    prediction_id,
    row_of,
)
from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel, page_client_of
from tests.builders.processes import PATIENCE_S, candor_here
from tests.builders.scenes import card

SOON = DriftSettings(average_run_length=50)


class Scraped:
    """The gauges of one ledger, kept between scrapes like those of a server that is never busy."""

    def __init__(self, monitored: MonitoredModel) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))

    def __call__(self, name: str, version: str = "1", **labels: str) -> float:
        where = {"model": "pneumonia", "version": version, "finding": ""} | labels
        value = self.registry.get_sample_value(f"candor_{name}", where)
        assert value is not None
        return value


def ledger_names(monitored: MonitoredModel) -> set[str]:
    families = LedgerGauges(monitored.ledger).collect()
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["ledger"] for sample in samples if "ledger" in sample.labels}


def test_the_gauges_rest_on_the_labels_of_the_report(monitored: MonitoredModel) -> None:
    gauge = Scraped(monitored)
    monitored.answer(range(400), wrong=2, confidence=0.75, both=True)  # chosen: half of them wrong
    assert gauge("calibration_overconfidence_ratio", window="all") == pytest.approx(0.25)
    assert (gauge("calibration_audit_decides"), gauge("accuracy_lower")) == (0, 1)
    # drawn: right as often as on the card
    monitored.answer(range(1_000, 1_200), wrong=4, confidence=0.75, both=True, audit=0.1)
    for window, shown in (("all", "all"), ("7d", "days:7")):
        report = calibration_report(monitored.ledger, "pneumonia", window=shown)
        assert gauge("calibration_labels", window=window) == report.measures.n == 200
        for name in ("ece", "noise_floor"):
            expected = getattr(report.measures, name)
            assert gauge(f"calibration_{name}_ratio", window=window) == pytest.approx(expected)
    assert (gauge("calibration_audit_decides"), gauge("accuracy_lower")) == (1, 0)
    assert gauge("accuracy_ratio") == gauge("accuracy_reference_ratio") == 0.75
    # Served at another confidence: the labels are of other answers, and no longer tell.
    monitored.serve(*(make_row(n, confidence=0.99) for n in range(10_000, 20_000)))
    report = calibration_report(monitored.ledger, "pneumonia")
    assert gauge("accuracy_lower") == (report.diagnosis.accuracy.answer == "lower")


def test_measures_are_exact_and_follow_labels_and_corrections(
    monitored: MonitoredModel, clock: Clock
) -> None:
    gauge = Scraped(monitored)
    assert gauge("calibration_labels", window="all") == 0
    assert math.isnan(gauge("calibration_ece_ratio", window="all"))
    assert math.isnan(gauge("accuracy_ratio"))
    assert math.isnan(gauge("accuracy_difference_upper_ratio"))
    confidence = [0.6 + 0.3 * (number % 7) / 7 for number in range(600)]
    monitored.serve(*(make_row(number, confidence=p) for number, p in enumerate(confidence)))
    correct = [number % 3 > 0 for number in range(600)]
    monitored.label(*(label(number, CLASSES[right]) for number, right in enumerate(correct)))
    clock.now_ns += DAY_NS
    days = {"all": (0, 700), "28d": (0, 700), "7d": (0, 700), "1d": (600, 700)}
    monitored.serve(
        *(make_row(n, confidence=0.7, served_at_ns=clock.now_ns) for n in range(600, 700))
    )
    monitored.label(*(label(n, at_ns=clock.now_ns) for n in range(600, 700)))
    confidence, correct = [*confidence, *[0.7] * 100], [*correct, *[True] * 100]
    for window, (start, end) in days.items():
        sums = BinSums.from_predictions(confidence[start:end], correct[start:end])
        expected = {
            "accuracy_ratio": metrics.accuracy(sums),
            "ece_ratio": metrics.ece(sums),
            "ece_lower_ratio": metrics.ece_interval(sums).lower,
            "ece_upper_ratio": metrics.ece_interval(sums).upper,
            "noise_floor_ratio": metrics.noise_floor(sums),
            "overconfidence_ratio": metrics.signed_gap(sums),
            "labels": end - start,
        }
        for name, value in expected.items():
            assert gauge(f"calibration_{name}", window=window) == pytest.approx(value), name
    before = gauge("calibration_overconfidence_ratio", window="all")
    monitored.label(label(599, "normal"))
    assert gauge("calibration_overconfidence_ratio", window="all") != pytest.approx(before)


def test_a_scrape_without_new_labels_reads_no_sums(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = LedgerGauges(monitored.ledger)
    assert list(gauges.collect())
    monkeypatch.setattr("monitoring.metrics.ledger_gauges.read_day_sums", lambda *_, **__: 1 / 0)
    assert list(gauges.collect())
    monitored.serve(make_row(1))
    monitored.label(label(1))
    with pytest.raises(ZeroDivisionError):
        list(gauges.collect())


def test_coverage_counts_late_labels_where_they_belong_and_those_that_wait(
    monitored: MonitoredModel, clock: Clock
) -> None:
    """Ten answers on one day; their labels come on the next, which has two answers."""
    gauge = Scraped(monitored)
    assert math.isnan(gauge("feedback_coverage_ratio", window="all"))
    monitored.serve(*(make_row(number) for number in range(10)))
    clock.now_ns += DAY_NS
    monitored.serve(*(make_row(number, served_at_ns=clock.now_ns) for number in (10, 11)))
    monitored.label(*(label(number) for number in range(6)))
    assert gauge("feedback_coverage_ratio", window="all") == 0.5
    assert gauge("feedback_coverage_ratio", window="1d") == 0
    assert gauge("expected_accuracy_ratio", window="1d") == pytest.approx(0.9)
    for waiting in (0, 1):
        of_model = {"model": "pneumonia"}
        assert gauge.registry.get_sample_value("candor_feedback_pending", of_model) == waiting
        monitored.label(FeedbackItem("normal", None, "pneumonia", "scan-1"))


def test_replicas_of_one_ledger_agree_and_those_of_another_are_told_apart(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.db"
    with (
        MonitoredModel(path, clock, settings=SOON) as one,
        MonitoredModel(path, clock, settings=SOON) as other,
    ):
        assert other.metric("calibration_drift_active") == 0
        one.answer(range(40), wrong=1, confidence=0.95)
        for replica in (one, other):
            assert replica.metric("calibration_drift_active") == 1
            assert (replica.metric("calibration_drift_log_evalue") or 0) >= math.log(50)
        other.recorder.acknowledge("pneumonia").result()
        assert one.metric("calibration_drift_active") == 0
        assert ledger_names(one) == ledger_names(other)
        clock.now_ns += 1
        with MonitoredModel(tmp_path / "another.db", clock) as stranger:
            assert ledger_names(stranger) != ledger_names(one)


def test_a_version_that_another_one_replaced_alarms_nobody(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        gauge, drift = Scraped(monitored), monitored.metric
        monitored.recorder.promote(monitored.watched_version_id).result()
        monitored.answer(range(400), wrong=2, confidence=0.75, both=True)
        report = calibration_report(monitored.ledger, "pneumonia")
        assert (drift("calibration_drift_active"), gauge("accuracy_lower")) == (1, 1)
        assert gauge("diagnosis_state", state="alarm") == 1
        assert gauge("diagnosis_gap_ratio") == pytest.approx(0.25, abs=0.02)
        difference = report.diagnosis.accuracy.difference
        assert gauge("accuracy_difference_upper_ratio") == difference.upper < 0
        assert gauge("accuracy_difference_lower_ratio") == difference.lower
        clock.now_ns += 1
        (second,) = monitored.recorder.register(make_card(version=2))  # a canary replaces nobody
        assert drift("calibration_drift_active") == 1
        monitored.recorder.promote(second).result()
        assert (drift("calibration_drift_active"), gauge("accuracy_lower")) == (0, 0)
        assert gauge("diagnosis_state", state="alarm") == 0
        assert drift("calibration_drift_log_evalue") == -math.inf
        assert gauge("accuracy_ratio") == 0.5
        assert gauge("accuracy_lower", version="2") == 0
        monitored.recorder.promote(monitored.watched_version_id).result()  # not acknowledged
        assert drift("calibration_drift_active") == 1


def test_a_canary_that_was_never_in_production_does_alarm(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        monitored.recorder.promote(*monitored.recorder.register(make_card(version=2))).result()
        monitored.answer(range(40), wrong=1, confidence=0.95)
        assert monitored.metric("calibration_drift_active") == 1


def test_of_two_cards_of_a_version_the_later_is_shown_once(
    monitored: MonitoredModel, clock: Clock
) -> None:
    clock.now_ns += 1
    (second,) = monitored.recorder.register(make_card(temperature=2.0))
    monitored.serve(make_row(1, watched_version_id=second))
    monitored.label(label(1))
    text = generate_latest(Scraped(monitored).registry).decode()
    sample = 'candor_calibration_labels{finding="",model="pneumonia",version="1",window="all"} 1.0'
    assert text.count(sample) == 1


def test_versions_are_shown_while_they_answer(tmp_path: Path, clock: Clock) -> None:
    path, of_labels = tmp_path / "ledger.db", "candor_calibration_labels"
    where = {"model": "pneumonia", "version": "1", "finding": ""}
    with MonitoredModel(path, clock) as monitored:
        registry = Scraped(monitored).registry
        clock.now_ns += 100 * DAY_NS
        assert registry.get_sample_value(of_labels, where | {"window": "all"}) is None
        monitored.serve(make_row(1, served_at_ns=clock.now_ns))
        monitored.label(label(1, at_ns=clock.now_ns))
        assert registry.get_sample_value(of_labels, where | {"window": "all"}) == 1
        assert monitored.metric("calibration_drift_active") == 0
    with MonitoredModel(path, clock, card=make_card(version=2)) as new:  # a new process knows it
        assert new.registry.get_sample_value("candor_feedback_total", where) == 0


def test_of_a_model_only_so_many_versions_are_shown(
    monitored: MonitoredModel, clock: Clock
) -> None:
    for version in range(2, VISIBLE_VERSIONS + 3):
        clock.now_ns += 1
        monitored.recorder.register(make_card(version=version))
    monitored.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))
    versions = {
        sample.labels["version"]
        for family in monitored.registry.collect()
        for sample in family.samples
        if "version" in sample.labels
    }
    assert versions == {str(version) for version in range(3, VISIBLE_VERSIONS + 3)}
    monitored.serve(make_row(1))
    monitored.label(label(1), label(1))  # late labels bring their version back
    assert monitored.metric("feedback_duplicates_total") == 1
    assert monitored.metric("feedback_total") == 1


def test_an_unreadable_ledger_costs_its_gauges_only(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    text = generate_latest(monitored.registry).decode()
    assert "candor_predictions_total" in text
    assert "candor_calibration_drift_active" not in text
    assert len(caplog.records) == 1


def test_a_ledger_without_history_has_no_samples(tmp_path: Path, clock: Clock) -> None:
    from monitoring.ledger import Ledger

    with Ledger(f"sqlite:///{tmp_path}/new.db", clock=clock) as ledger:
        samples = [each for family in LedgerGauges(ledger).collect() for each in family.samples]
    # no backup and no prune ever, and nothing about a version
    age, *values = [each.value for each in samples]
    assert (values, [each.labels for each in samples]) == ([0, 0], [{}] * 3)
    assert age < PATIENCE_S


SENSITIVITY, SPECIFICITY, PPV = RateName


def promising_card() -> Card:
    """On the reference 900 of 1,000 ill and 900 of 1,000 others were recognized."""
    card = make_card()
    counts = ((900, 100), (100, 900))
    calibration = card.calibration.model_copy(update={"confusion": counts})
    return card.model_copy(update={"calibration": calibration})


PRESENCE = ("absent", "present")


def sensitive_card() -> Card:
    """Edema is present from .3 on, which finds at least 85 % of it."""
    card = findings_card(thresholds=(0.3, 0.5, 0.5))
    promise = FindingPromise(sensitivity=Rate(value=0.9, lower=0.85, upper=0.95, n=200))
    edema, *others = card.findings or ()
    edema = edema.model_copy(update={"promise": promise})
    return card.model_copy(update={"findings": (edema, *others)})


of_rates = pytest.mark.world(tags=TagSettings(("site",)), card=promising_card())


def answer(
    monitored: MonitoredModel, first: int, ill: int, missed: int, *, site: str, day: int = 0
) -> None:
    """Serve and label `ill` images of the ill, of which so many are missed, and as many others."""
    at_ns, numbers = NOW_NS + day * DAY_NS, range(first, first + 2 * ill)
    said = [int(missed <= n - first < ill) for n in numbers]
    monitored.serve(
        *(
            make_row(n, predicted=k, served_at_ns=at_ns)._replace(tags=json.dumps({"site": site}))
            for n, k in zip(numbers, said, strict=True)
        )
    )
    monitored.label(*(label(n, CLASSES[int(n < first + ill)], at_ns=at_ns) for n in numbers))


def points(monitored: MonitoredModel, **which: str) -> OperatingPoints:
    return report(monitored, **which).diagnosis.operating_points


def report(monitored: MonitoredModel, **which: str) -> Report:
    return calibration_report(monitored.ledger, monitored.card.name, **which)


def gauges(monitored: MonitoredModel, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))
    where = {"model": monitored.card.name, "version": "1", "finding": ""} | labels
    return registry.get_sample_value(f"candor_{name}", where)


@of_rates
def test_the_history_names_each_rate_once(monitored: MonitoredModel) -> None:
    def told() -> list[tuple[object, ...]]:
        with monitored.ledger.read() as connection:
            entries = read_timeline(connection, monitored.card.name)
        return [
            tuple(each["detail"][name] for name in ("rate", "of", "tag"))
            for each in entries
            if each["kind"] == "alarm" and each["tag"] == OPERATING
        ]

    answer(monitored, 0, 300, 20, site="A")
    note_lower_rates(monitored.ledger)
    assert told() == []
    answer(monitored, 1_000, 60, 30, site="B")
    for _ in range(2):
        note_lower_rates(monitored.ledger)
        assert sorted(told()) == [
            ("ppv", "normal", "site=B"),
            ("sensitivity", "pneumonia", "site=B"),
            ("specificity", "normal", "site=B"),
        ]


@of_rates
def test_rates_are_judged_since_an_error_ended(monitored: MonitoredModel) -> None:
    """Every tenth answer is wrong, and every second one on one day."""
    for day, (n, wrong) in enumerate([(200, 10), (300, 2), *[(200, 10)] * 5]):
        at_ns, numbers = NOW_NS + day * DAY_NS, range(1_000 * day, 1_000 * day + n)
        monitored.serve(*(make_row(i, predicted=i % 2, served_at_ns=at_ns) for i in numbers))
        true = (CLASSES[i % 2 ^ int(i // 2 % wrong == 0)] for i in numbers)
        monitored.label(
            *(label(i, name, at_ns=at_ns) for i, name in zip(numbers, true, strict=True))
        )
    found = report(monitored).diagnosis
    assert [each.until is None for each in found.deviations] == [False]
    assert found.state is State.HEALED
    assert found.operating_points.lower == ()
    monitored.recorder.acknowledge(monitored.card.name).result()
    calm = report(monitored).diagnosis
    assert calm.state is not State.HEALED
    assert ", until " in words_of(calm).summary[0]  # no figure of all labels: that is of the past


@of_rates
def test_a_site_that_misses_the_ill_is_named_everywhere(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    answer(monitored, 0, 300, 20, site="A")
    answer(monitored, 1_000, 60, 30, site="B")
    found = report(monitored)
    lower = found.diagnosis.operating_points.lower
    assert {(each.name, each.of, each.group.values) for each in lower} == {
        (SENSITIVITY, "pneumonia", ("B",)),
        (SPECIFICITY, "normal", ("B",)),
        (PPV, "normal", ("B",)),
    }
    assert lower[0].rate.upper < lower[0].promise.lower
    assert StateReason.OPERATING_POINT in found.diagnosis.reasons
    assert any("site B" in each for each in words_of(found.diagnosis).summary)
    of = {"class": "pneumonia", "rate": "sensitivity"}
    assert gauges(monitored, "operating_point_ratio", **of) == pytest.approx(310 / 360)
    assert gauges(monitored, "operating_point_promise_ratio", **of) == pytest.approx(0.88, abs=0.01)
    assert gauges(monitored, "operating_points_lower", tag="site=B") == 3
    assert gauges(monitored, "operating_points_lower", tag="site=A") == 0
    assert gauges(monitored, "operating_points_lower", tag="") == 0
    assert gauges(monitored, "net_benefit_ratio", **{"class": "pneumonia"}) == pytest.approx(
        310 / 720
    )
    assert gauges(monitored, "auroc_ratio", **{"class": "pneumonia"}) is not None
    other = monitored.recorder.register(promising_card().model_copy(update={"version": 2}))
    for key in (monitored.watched_version_id, *other):  # one that another replaced alarms nobody
        monitored.recorder.promote(key).result()
    assert gauges(monitored, "operating_points_lower", tag="site=B") == 0


@of_rates
def test_deleted_answers_take_their_days_out(monitored: MonitoredModel, clock: Clock) -> None:
    answer(monitored, 0, 60, 50, site="B")
    answer(monitored, 1_000, 60, 0, site="B", day=3)
    clock.now_ns = NOW_NS + 4 * DAY_NS
    assert points(monitored).lower
    prune(monitored.ledger, older_than_s=2 * 86_400)
    answer(monitored, 2_000, 1, 0, site="B", day=4)  # a label, so that it is judged again
    found = points(monitored)
    assert (found.lower, found.labels) == ((), 122)
    assert {each.since_s for each in found.rates} == {(NOW_NS // DAY_NS + 1) * 86_400}


@pytest.mark.world(card=sensitive_card())
def test_of_a_finding_present_is_what_its_threshold_says(monitored: MonitoredModel) -> None:
    p = np.where(np.arange(90) < 45, 0.4, 0.2)[:, None] * [1, 0, 0]
    monitored.serve_findings(range(90), p)
    monitored.label(
        *(FeedbackItem("", prediction_id(n), findings={"Edema": "present"}) for n in range(90))
    )
    found = points(monitored, finding="Edema")
    (lower,) = found.lower
    assert (lower.name, lower.of, lower.rate.estimate) == (SENSITIVITY, "present", 0.5)
    assert found.auroc_promised == {}
    labels = {"finding": "Edema", "tag": ""}
    assert gauges(monitored, "operating_points_lower", **labels) == 1
    others = points(monitored, finding="Mass").rates
    assert {each.standing for each in others} == {RateStanding.UNKNOWN}


@pytest.mark.world(card=sensitive_card())
def test_calibrated_and_blind_is_worth_a_look(monitored: MonitoredModel) -> None:
    """Said in 20 %, present in 20 %, and none of them from the threshold on."""
    monitored.serve_findings(range(300), [0.2, 0, 0])
    monitored.label(
        *(
            FeedbackItem("", prediction_id(n), findings={"Edema": PRESENCE[n % 5 == 0]})
            for n in range(300)
        )
    )
    diagnosis = report(monitored, finding="Edema").diagnosis
    assert (diagnosis.state, diagnosis.reasons[0], diagnosis.deviations) == (
        State.LOOK,
        StateReason.OPERATING_POINT,
        (),
    )
    assert diagnosis.actions[0].code is ActionCode.FIND_CAUSE


@pytest.mark.anyio
async def test_page_and_terminal_show_rates_net_benefit_and_auroc(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.db"
    tags = TagSettings(("site",))
    with MonitoredModel(path, clock, tags=tags, card=promising_card()) as monitored:
        answer(monitored, 0, 60, 30, site="B")
        answer(monitored, 1_000, 60, 6, site="A")
        answer(monitored, 2_000, 15, 2, site="C")
        async with page_client_of(monitored, tmp_path) as client:
            page = (await client.get("/models/pneumonia/report/page")).text
    assert "<td>sensitivity of pneumonia at site A</td>" in page
    assert "<td>sensitivity of pneumonia at site C</td>" not in page  # 15 cases say little
    arguments = ["report", "--ledger", f"sqlite:///{path}"]
    printed = candor_here(*arguments).output
    assert "sensitivity of pneumonia at site A" in printed
    assert "of pneumonia at site C" not in printed
    assert "88.0 to 91.8 %" in printed  # the promise: Clopper and Pearson of 900 of 1,000
    assert "Net benefit" in printed
    assert "AUROC over time" in printed
    stored = json.loads(candor_here(*arguments, "--json").output)
    rates = stored["diagnosis"]["operating_points"]["rates"]
    assert rates[0]["standing"] == "lower"


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


THREE = ("normal", "bacterial", "viral")


@dataclass
class Scene:
    """Answers of a model with three classes, and their truth."""

    monitored: MonitoredModel
    probabilities: np.ndarray
    labels: np.ndarray

    def serve(self, *, audit: Sequence[int] = (), days_ago: int = 0) -> None:
        at_ns = NOW_NS - days_ago * DAY_NS
        for start in range(0, len(self.labels), 500):
            self.monitored.serve(
                *(self._row(i, at_ns, i in audit) for i in range(start, self._end(start)))
            )

    def label(self, numbers: Sequence[int], *, days_ago: int = 0) -> None:
        at_ns = NOW_NS - days_ago * DAY_NS
        items = [
            FeedbackItem(THREE[self.labels[i]], prediction_id(i, at_ns=at_ns)) for i in numbers
        ]
        self.monitored.label(*items)

    def found(self) -> ExpectedPerformance:
        return calibration_report(self.monitored.ledger, "pneumonia").expected_performance

    def _end(self, start: int) -> int:
        return min(start + 500, len(self.labels))

    def _row(self, number: int, at_ns: int, audited: bool) -> PredictionRow:
        known = {"watched_version_id": self.monitored.watched_version_id}
        audit = 0.2 if audited else None
        return row_of(number, self.probabilities[number], at_ns=at_ns, audit=audit, **known)


def scene(
    monitored: MonitoredModel, n: int = 1_200, *, sharpness: float = 1.0, seed: int = 0
) -> Scene:
    """Calibrated answers; `sharpness` 2 doubles their log-odds, so that they are overconfident."""
    rng = np.random.default_rng(seed)
    p = np.exp(2 * rng.normal(size=(n, 3)))
    p /= p.sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    sharp = p**sharpness
    return Scene(monitored, sharp / sharp.sum(axis=1, keepdims=True), labels)


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> MonitoredModel:
    folder = tmp_path_factory.mktemp("ledger")
    settings = DriftSettings(average_run_length=1e5)
    return MonitoredModel(
        folder / "ledger.db", Clock(), card=make_card(classes=THREE), settings=settings
    )


def test_the_estimate_is_that_of_the_rows(three: MonitoredModel) -> None:
    shown = scene(three)
    shown.serve()
    alone = shown.found().from_confidence
    expected = expected_confusion(
        ProbabilitySums.from_probabilities(shown.probabilities), reference=[1e12] * 3
    )
    np.testing.assert_allclose(alone.confusion, expected.counts, atol=1e-3)
    assert alone.accuracy.value == pytest.approx(shown.probabilities.max(axis=1).mean(), abs=1e-6)
    assert alone.answers == 1_200
    # The card's 100 reference answers widen the interval by sqrt(1 + 1200 / 100).
    assert alone.accuracy.deviation == pytest.approx(
        expected.accuracy.deviation * np.sqrt(13), rel=1e-3
    )


def test_before_labels_nothing_has_checked_it(three: MonitoredModel) -> None:
    """Once answers have changed, not even its interval is known."""
    shown = scene(three)
    shown.serve(days_ago=2)
    assert shown.found().status is EstimateStatus.NOT_CHECKED
    viral = scene(three, sharpness=3.0, seed=1)
    viral.probabilities = np.sort(viral.probabilities, axis=1)
    viral.serve(days_ago=1)
    found = shown.found()
    assert found.status is EstimateStatus.INPUT_CHANGED
    accuracy = found.from_confidence.accuracy
    assert (accuracy.lower, accuracy.upper) == (0.0, 1.0)
    assert found.corrected is None
    assert found.checked == ()


def test_when_labels_agree_estimate_and_truth_stand_side_by_side(three: MonitoredModel) -> None:
    shown = scene(three)
    shown.serve()
    shown.label(range(600))
    found = shown.found()
    assert found.status is EstimateStatus.AGREES
    truth = confusion_matrix(shown.probabilities[:600], shown.labels[:600])
    by_name = {(each.name, each.of): each.shown for each in found.checked}
    assert by_name["accuracy", None] == pytest.approx(truth.trace() / 600)
    assert by_name["sensitivity", "viral"] == pytest.approx(truth[2, 2] / truth[2].sum())
    everything = confusion_matrix(shown.probabilities, shown.labels)
    assert (
        found.corrected.accuracy.lower
        <= everything.trace() / 1_200
        <= found.corrected.accuracy.upper
    )


def test_with_every_label_the_corrected_estimate_is_the_truth(three: MonitoredModel) -> None:
    shown = scene(three, sharpness=1.5)
    shown.serve()
    shown.label(range(1_200))
    corrected = shown.found().corrected
    np.testing.assert_allclose(
        corrected.confusion, confusion_matrix(shown.probabilities, shown.labels), atol=1e-3
    )
    assert corrected.accuracy.upper - corrected.accuracy.lower < 1e-3


def test_an_active_alarm_contradicts_it_and_the_labels_correct_it(three: MonitoredModel) -> None:
    shown = scene(three, sharpness=2.5)
    shown.serve()
    shown.label(range(600))
    report = calibration_report(three.ledger, "pneumonia")
    found = report.expected_performance
    assert report.drift.active
    assert found.status is EstimateStatus.CONTRADICTED
    truth = (shown.probabilities.argmax(axis=1) == shown.labels).mean()
    assert found.from_confidence.accuracy.value > truth + 0.05
    assert found.corrected.accuracy.lower <= truth <= found.corrected.accuracy.upper
    three.recorder.acknowledge("pneumonia").result()
    assert shown.found().status is EstimateStatus.CONTRADICTED  # the labels are still there


def test_an_audit_decides_the_check_and_the_correction(three: MonitoredModel) -> None:
    """A perfect model whose wrong answers are labeled first; the audit knows."""
    shown = scene(three, 1_500)
    audit = range(0, 1_500, 5)
    wrong = np.flatnonzero(shown.probabilities.argmax(axis=1) != shown.labels)
    shown.serve(audit=audit)
    shown.label([number for number in wrong.tolist() if number % 5])
    complaints = shown.found()
    assert complaints.status is EstimateStatus.CONTRADICTED
    three.recorder.acknowledge("pneumonia", audit=True).result()
    shown.label(audit)
    found = shown.found()
    assert found.audit
    assert found.labels == 300
    assert found.status is EstimateStatus.AGREES
    truth = (shown.probabilities.argmax(axis=1) == shown.labels).mean()
    assert abs(found.corrected.accuracy.value - truth) < 0.03


def test_answers_without_all_probabilities_are_not_estimated(three: MonitoredModel) -> None:
    shown = scene(three, 100)
    shown.serve()
    bare = [shown._row(i, NOW_NS - DAY_NS, False)._replace(probabilities=b"") for i in range(50)]
    three.serve(*bare)
    found = shown.found()
    assert found.status is EstimateStatus.UNKNOWN
    assert "lack the probabilities" in estimate_words(found)
    three.ledger.close()
