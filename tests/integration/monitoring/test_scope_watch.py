"""The alarm of doubtful images: raised by whole days, kept once, acknowledged by itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from model_store.bundle.card import Card, FlaggedShare, ScopeCard
from monitoring.drift import events
from monitoring.drift.scope_watch import note_alarms
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.reports.report import calibration_report
from monitoring.reports.timeline import read_timeline
from monitoring.routes import endpoints
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row
from tests.builders.findings import findings_card
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, client_of
from tests.builders.processes import wait_until

DATABASES = BOTH_DATABASES
SCOPE = ScopeCard(
    method="mahalanobis",
    features="means of maps",
    reference_split="val",
    fitted_on=600,
    alpha=0.05,
    flagged=FlaggedShare(n=300, lower=0.028, upper=0.077),
)
PATH = "/models/{}/report/acknowledge"


def with_check(card: Card) -> Card:
    return card.model_copy(update={"scope": SCOPE})


@pytest.fixture
def watched(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    with MonitoredModel(ledger_url, clock, card=with_check(make_card())) as opened:
        yield opened


def serve(monitored: MonitoredModel, day: int, *, doubtful: int, images: int = 50) -> None:
    """A day's images, the first of which are doubtful."""
    for number in range(images):
        image: dict[str, Any] = {"scope_p": 0.01 if number < doubtful else 0.5}
        served_at_ns = NOW_NS + day * DAY_NS
        row = make_row(1_000 * day + number, served_at_ns=served_at_ns)
        if monitored.card.has_findings:
            shared = {"prediction_id": row.prediction_id, "served_at_ns": served_at_ns}
            monitored.serve_findings([number], [0.5] * 3, **shared, **image)
        else:
            monitored.serve(row._replace(**image))


def kept(monitored: MonitoredModel) -> list[str]:
    """The kinds of this watch's events, of all findings."""
    with monitored.ledger.read() as connection:
        return [
            each.kind
            for key in monitored.watched_version_ids
            for each in events.read(connection, key, DOUBTFUL)
        ]


def raised(monitored: MonitoredModel, finding: str | None = None) -> bool:
    report = calibration_report(monitored.ledger, monitored.card.name, finding=finding)
    signs = {each.name: each for each in report.diagnosis.early_signs}
    return signs["doubtful_images"].raised


def test_the_leader_keeps_the_alarm_once(watched: MonitoredModel, clock: Clock) -> None:
    serve(watched, 0, doubtful=40)
    note_alarms(watched.ledger)
    assert kept(watched) == []  # the day is not over
    clock.now_ns += DAY_NS
    with MaintenanceWorker(watched.ledger, watched.recorder, CollectorRegistry()):
        wait_until(lambda: kept(watched))
    note_alarms(watched.ledger)
    assert kept(watched) == ["alarm"]
    assert raised(watched)
    with watched.ledger.read() as connection:
        (entry,) = (each for each in read_timeline(connection, "pneumonia") if each["tag"])
    assert (entry["tag"], entry["detail"]["day"]) == (DOUBTFUL, NOW_NS // DAY_NS)


def test_few_doubtful_images_raise_none(watched: MonitoredModel, clock: Clock) -> None:
    serve(watched, 0, doubtful=3)
    clock.now_ns += DAY_NS
    note_alarms(watched.ledger)
    assert kept(watched) == []
    assert not raised(watched)


@pytest.mark.anyio
@pytest.mark.parametrize("card", [make_card(), findings_card()], ids=["classes", "findings"])
async def test_it_is_acknowledged_by_itself_for_all_findings(
    ledger_url: str, clock: Clock, card: Card
) -> None:
    asked = {"tag": DOUBTFUL, "note": "window repaired"}
    with MonitoredModel(ledger_url, clock, card=with_check(card)) as monitored:
        table = endpoints(
            monitored.recorder, monitored.ledger, monitored.metrics, production={card.name: 1}.get
        )
        finding = card.classes[1] if card.has_findings else None
        params = {"finding": finding} if finding else {}
        async with client_of(monitored, table) as client:

            async def acknowledge() -> dict[str, Any]:
                path = PATH.format(card.name)
                return dict((await client.post(path, json=asked, params=params)).json())

            assert "unchanged" in await acknowledge()
            serve(monitored, 0, doubtful=40)
            clock.now_ns += DAY_NS
            note_alarms(monitored.ledger)
            assert raised(monitored, finding)
            assert "unchanged" not in await acknowledge()
            assert "unchanged" in await acknowledge()
            assert kept(monitored) == ["alarm", "acknowledged"]
            assert not raised(monitored, finding)
            serve(monitored, 1, doubtful=40)  # the day of the acknowledgment does not count
            clock.now_ns += DAY_NS
            note_alarms(monitored.ledger)
            assert not raised(monitored, finding)
            serve(monitored, 2, doubtful=40)
            clock.now_ns += DAY_NS
            note_alarms(monitored.ledger)
            assert kept(monitored) == ["alarm", "acknowledged", "alarm"]
            assert raised(monitored, finding)


@pytest.mark.anyio
async def test_a_model_without_a_scope_check_has_no_such_watch(monitored: MonitoredModel) -> None:
    table = endpoints(
        monitored.recorder, monitored.ledger, monitored.metrics, production={"pneumonia": 1}.get
    )
    async with client_of(monitored, table) as client:
        answer = await client.post(PATH.format("pneumonia"), json={"tag": DOUBTFUL})
    assert answer.json()["error"] == "tag_not_watched"
