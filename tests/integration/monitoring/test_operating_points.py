"""Rates at the thresholds in use, from the ledger: in report, terminal, gauges, words."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from calibration.operating.facts import OperatingPoints, RateName, RateStanding
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingPromise, Rate
from monitoring.diagnosis.facts import ActionCode, State, StateReason
from monitoring.diagnosis.lower_rates import OPERATING, note_lower_rates
from monitoring.diagnosis.words import words_of
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.maintenance.retention import prune
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.reports.report import Report, calibration_report
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    label,
    make_card,
    make_row,
    prediction_id,
)
from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel, page_client_of
from tests.builders.processes import candor_here

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


@pytest.fixture
def monitored(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    tags = TagSettings(("site",))
    with MonitoredModel(ledger_url, clock, tags=tags, card=promising_card()) as opened:
        yield opened


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


def test_a_correction_changes_the_figures(monitored: MonitoredModel) -> None:
    answer(monitored, 0, 60, 30, site="B")
    assert points(monitored).lower
    monitored.label(*(label(n, "normal") for n in range(25)))
    found = points(monitored)
    assert not found.lower
    (rate,) = (
        each
        for each in found.rates
        if (each.name, each.of, each.group.key) == (SENSITIVITY, "pneumonia", "all")
    )
    assert (rate.n, rate.rate.estimate) == (35, pytest.approx(30 / 35))


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


def test_a_replaced_version_alarms_nobody(monitored: MonitoredModel) -> None:
    monitored.recorder.promote(monitored.watched_version_id).result()
    answer(monitored, 0, 60, 30, site="B")
    assert gauges(monitored, "operating_points_lower", tag="") == 3
    other = monitored.recorder.register(promising_card().model_copy(update={"version": 2}))
    monitored.recorder.promote(*other).result()
    assert gauges(monitored, "operating_points_lower", tag="") == 0


def test_of_a_finding_present_is_what_its_threshold_says(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock, card=sensitive_card()) as chest:
        p = np.where(np.arange(90) < 45, 0.4, 0.2)[:, None] * [1, 0, 0]
        chest.serve_findings(range(90), p)
        chest.label(
            *(FeedbackItem("", prediction_id(n), findings={"Edema": "present"}) for n in range(90))
        )
        found = points(chest, finding="Edema")
        (lower,) = found.lower
        assert (lower.name, lower.of, lower.rate.estimate) == (SENSITIVITY, "present", 0.5)
        assert found.auroc_promised == {}
        labels = {"finding": "Edema", "tag": ""}
        assert gauges(chest, "operating_points_lower", **labels) == 1
        others = points(chest, finding="Mass").rates
        assert {each.standing for each in others} == {RateStanding.UNKNOWN}


def test_calibrated_and_blind_is_worth_a_look(ledger_url: str, clock: Clock) -> None:
    """Said in 20 %, present in 20 %, and none of them from the threshold on."""
    with MonitoredModel(ledger_url, clock, card=sensitive_card()) as chest:
        chest.serve_findings(range(300), [0.2, 0, 0])
        chest.label(
            *(
                FeedbackItem("", prediction_id(n), findings={"Edema": PRESENCE[n % 5 == 0]})
                for n in range(300)
            )
        )
        diagnosis = report(chest, finding="Edema").diagnosis
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
