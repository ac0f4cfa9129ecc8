"""Figures of one ledger agree: report, page, terminal, gauges and the preview of a recalibration.

The ledger has what makes figures differ: labels that come days later, two versions, an alarm that
was acknowledged, an error that grows at one site, images of a patient, and pruned answers.
"""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from calibration.calibrators.temperature import apply_temperature, softmax
from calibration.diagnosis.groups import ALL
from calibration.drift.state import DriftSettings
from calibration.wording import in_points, percent, signed_points
from candor.terminal.report import Reported
from model_store.store.store import Store
from monitoring.drift.acknowledgment import acknowledge
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.maintenance.retention import prune
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.ledger_gauges import WINDOWS, LedgerGauges
from monitoring.recalibration import AnswerFilter, read_since, recalibrate
from monitoring.recalibration.answers import options_of
from monitoring.reports.report import Report, calibration_report
from tests.builders.answers import DAY_NS, SECOND_NS, draw, row_of
from tests.builders.bundles import publish_tiny
from tests.builders.monitored import Clock, MonitoredModel, page_client_of

DAYS, A_DAY, LATE_DAYS, KEPT_DAYS = 44, 120, 3, 38
BEGAN, SECOND = 14, 30  # days: of the error, and of version 2 and the acknowledgment
IMAGES = 2  # of a patient


class Kept(NamedTuple):
    monitored: MonitoredModel
    store: Store
    folder: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("agreement")
    store, clock = publish_tiny(folder / "store"), Clock()
    card, settings = store.read("tiny").card, DriftSettings(average_run_length=1_000)
    with MonitoredModel(
        folder / "ledger.db", clock, card=card, settings=settings, tags=TagSettings(("site",))
    ) as monitored:
        fill(monitored, clock)
        assert prune(monitored.ledger, older_than_s=KEPT_DAYS * 86_400).answers
        yield Kept(monitored, store, folder)


def fill(monitored: MonitoredModel, clock: Clock) -> None:
    """Answers of each day, and the labels of those three days before."""
    rng, begin_ns = np.random.default_rng(3), clock.now_ns
    versions, labels = [monitored.watched_version_id], []
    for day in range(DAYS):
        clock.now_ns = begin_ns + day * DAY_NS
        if day == SECOND:
            versions += monitored.recorder.register(
                monitored.card.model_copy(update={"version": 2})
            )
            with monitored.ledger.write() as connection:
                done = acknowledge(connection, versions[0], note="seen", now_ns=clock.now_ns)
                assert done
                assert not done.unchanged
        honest = np.repeat(rng.normal(0, 2.5, (A_DAY // IMAGES, 3)), IMAGES, axis=0)
        p, site = (
            softmax(honest),
            np.repeat(rng.choice(list("ABCD"), len(honest) // IMAGES), IMAGES),
        )
        wrong = apply_temperature(honest, 1 + max(day - BEGAN, 0) / 2)
        truth = np.where(site == "B", draw(rng, wrong), draw(rng, p))
        rows = [
            row_of(
                day * A_DAY + each,
                p[each],
                at_ns=clock.now_ns + each // IMAGES * SECOND_NS,
                watched_version_id=versions[-1 if each // IMAGES % 4 == 0 else 0],
                tags=json.dumps({"site": str(site[each])}),
                patient=monitored.recorder.patients.hash(f"{day} {each // IMAGES}"),
            )
            for each in range(A_DAY)
        ]
        monitored.serve(*rows)
        names = [monitored.card.classes[each] for each in truth]
        pairs = zip(names, rows, strict=True)
        labels.append([FeedbackItem(name, row.prediction_id) for name, row in pairs])
        if day >= LATE_DAYS:
            monitored.label(*labels[day - LATE_DAYS])


def gauges(kept: Kept) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(LedgerGauges(kept.monitored.ledger))
    return registry


def gauge(registry: CollectorRegistry, name: str, **labels: str) -> float:
    named = {"model": "tiny", "version": "1", "finding": ""} | labels
    value = registry.get_sample_value(f"candor_{name}", named)
    assert value is not None, name
    return value


async def asked(kept: Kept, path: str) -> Any:
    kept.monitored.metrics = MonitorMetrics(CollectorRegistry())
    clients = page_client_of(kept.monitored, kept.folder, production={"tiny": 1}.get)
    async with clients as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    return answer


async def report_of(kept: Kept, window: str) -> dict[str, Any]:
    answer = await asked(kept, f"/models/tiny/report?version=1&window={window}")
    found: dict[str, Any] = answer.json()
    return found


async def page_of(kept: Kept, window: str) -> str:
    page = (await asked(kept, f"/models/tiny/report/page?version=1&window={window}")).text
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


@pytest.mark.anyio
@pytest.mark.parametrize("name", WINDOWS)
async def test_gauges_say_what_the_report_of_their_window_says(kept: Kept, name: str) -> None:
    days = WINDOWS[name]
    report = await report_of(kept, "all" if days is None else f"days:{days}")
    registry = gauges(kept)
    measures, coverage = report["measures"], report["coverage"]
    for of_gauge, of_report in {
        "calibration_labels": measures["n"],
        "calibration_accuracy_ratio": measures["accuracy"],
        "calibration_ece_ratio": measures["ece"],
        "calibration_ece_lower_ratio": measures["ece_lower"],
        "calibration_ece_upper_ratio": measures["ece_upper"],
        "calibration_noise_floor_ratio": measures["noise_floor"],
        "calibration_overconfidence_ratio": measures["signed_gap"],
        "feedback_coverage_ratio": coverage["ratio"],
        "expected_accuracy_ratio": report["expected_accuracy"],
    }.items():
        said = np.nan if of_report is None else of_report
        assert gauge(registry, of_gauge, window=name) == pytest.approx(said, nan_ok=True), of_gauge


@pytest.mark.anyio
async def test_the_diagnosis_is_one_wherever_it_is_read(kept: Kept) -> None:
    report, registry = await report_of(kept, "now"), gauges(kept)
    found = report["diagnosis"]
    (error,) = found["deviations"]
    assert (error["group"]["values"], error["until"]) == (["B"], None)
    assert gauge(registry, "diagnosis_state", state=found["state"]) == 1
    assert gauge(registry, "diagnosis_gap_ratio") == error["inside"]["gap"]["estimate"]
    assert gauge(registry, "accuracy_ratio") == found["accuracy"]["live"]
    assert report["since_s"] == error["since"]["likeliest"]
    assert report["measures"]["n"] == error["inside"]["n"]
    assert report["measures"]["signed_gap"] == pytest.approx(error["inside"]["gap"]["estimate"])
    interval = [report["measures"][f"signed_gap_{end}"] for end in ("lower", "upper")]
    assert interval == pytest.approx([error["inside"]["gap"][each] for each in ("lower", "upper")])
    assert found["basis"]["labels"] > found["basis"]["read"]  # of the others the sums are left
    (ledger,) = {each.labels["ledger"] for each in drift_samples(registry)}
    assert gauge(registry, "calibration_drift_active", ledger=ledger) == report["drift"]["active"]
    evidence = gauge(registry, "calibration_drift_log_evalue", ledger=ledger)
    assert evidence == report["drift"]["log_evalue"]
    kinds = [each["kind"] for each in report["history"]]
    assert kinds.count("acknowledged") == 1
    assert set(kinds) <= {"started", "tags", "alarm", "acknowledged"}


def drift_samples(registry: CollectorRegistry) -> list[Any]:
    name = "candor_calibration_drift_active"
    return [each for family in registry.collect() for each in family.samples if each.name == name]


@pytest.mark.anyio
@pytest.mark.parametrize("window", ["now", "all", "days:28"])
async def test_page_and_terminal_say_what_the_report_says(kept: Kept, window: str) -> None:
    report, page = await report_of(kept, window), await page_of(kept, window)
    measures, gap = report["measures"], report["diagnosis"]["deviations"][0]["inside"]["gap"]
    terminal = re.sub(r"\s+", " ", repr(Reported(plain_report(kept, window), None)))
    for text in (percent(measures["ece"]), percent(measures["accuracy"]), str(measures["n"])):
        assert text in terminal
        assert text in page.replace(",", "")
    tile = f"({signed_points(measures['signed_gap_lower'])} to"
    assert f"{in_points(measures['signed_gap'])} 95 % interval {tile}" in page
    verdict = f"gap {signed_points(gap['estimate'])} ({signed_points(gap['lower'])} to"
    assert verdict in page
    assert verdict in terminal
    for entry in report["history"]:
        assert entry["sentence"] in page


def plain_report(kept: Kept, window: str) -> Report:
    return calibration_report(kept.monitored.ledger, "tiny", version=1, window=window)


def test_a_preview_does_to_each_group_what_the_diagnosis_says(kept: Kept) -> None:
    found = plain_report(kept, "now").diagnosis
    assert len(found.remedies) == 2
    for remedy in found.remedies:
        action = next(each for each in found.actions if each.labels == remedy.labels)
        since = options_of(action).get("since")
        chosen = AnswerFilter(
            since_ns=None if since is None else read_since(since),
            group=None if remedy.group.key == ALL else remedy.group,
        )
        draft = recalibrate(
            kept.monitored.ledger,
            kept.store,
            "tiny",
            answer_filter=chosen,
            allow_label_changes=remedy.changes_labels,
            publish=False,
        )
        assert draft.labels == remedy.labels
        said = {each.group: each for each in remedy.effects}
        assert draft.proposal.effects
        for effect in draft.proposal.effects:
            of_report = said[effect.group]
            assert effect.n == of_report.n
            assert effect.before == pytest.approx(of_report.before)
            assert effect.after == pytest.approx(of_report.after, abs=1e-4)
