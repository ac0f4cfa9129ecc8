"""The page of all models, and `GET /reports`: read again only where something changed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from monitoring.drift.events import RESET
from monitoring.drift.source_change import change_sources
from monitoring.http.json_body import plain
from monitoring.reports.every_model import EveryModel
from monitoring.sources import LabelPolicy
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel, page_client_of

pytestmark = pytest.mark.anyio
_PAGE = {"accept": "text/html"}
_MINUTES = 60 * 10**9
CHANGES: dict[str, Callable[[MonitoredModel], object]] = {
    "an answer": lambda one: one.serve(make_row(50)),
    "a label": lambda one: one.label(label(5)),
    "a correction": lambda one: one.label(label(1, "normal")),
    "a second reading": lambda one: one.label(label(1, source="b")._replace(reader="b")),
    "a reset": lambda one: one.recorder.acknowledge("pneumonia", kind=RESET).result(),
    "a policy": lambda one: change_sources(one.ledger, "pneumonia", {"lab": LabelPolicy.PROXY}),
    "a version": lambda one: one.recorder.register(make_card(version=2)),
    "a promotion": lambda one: one.recorder.promote(one.watched_version_id).result(),
}


def of_all(monitored: MonitoredModel) -> EveryModel:
    return EveryModel(monitored.ledger, lambda _: None, lambda _: None)


@pytest.fixture
def labeled(monitored: MonitoredModel) -> MonitoredModel:
    monitored.serve(*(make_row(number, confidence=0.8) for number in range(10)))
    monitored.label(*(label(number, source="lab")._replace(reader="a") for number in range(4)))
    return monitored


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_kept_is_what_is_read_anew(labeled: MonitoredModel, change: str) -> None:
    every = of_all(labeled)
    before = every.read()
    assert every.read().reports == before.reports
    CHANGES[change](labeled)
    after = every.read()
    assert after.mark != before.mark
    assert plain(after.reports) == plain(of_all(labeled).read().reports)


def test_nothing_but_marks_is_read_while_nothing_changes(
    labeled: MonitoredModel, clock: Clock
) -> None:
    every, asked = of_all(labeled), list[str]()
    first = every.read()
    with labeled.ledger.read() as connection:
        event.listen(connection.engine, "before_cursor_execute", lambda *it: asked.append(it[2]))
    assert every.read().mark == first.mark
    assert len([each for each in asked if each.startswith("SELECT")]) <= 3
    clock.now_ns += 10 * _MINUTES  # as time alone changes a report
    assert every.read().reports[0].generated_at_ns == clock.now_ns


async def test_who_has_the_page_gets_it_again_once_it_changed(
    labeled: MonitoredModel, tmp_path: Path
) -> None:
    async with page_client_of(labeled, tmp_path) as client:
        first = await client.get("/", headers=_PAGE)
        had = _PAGE | {"if-none-match": first.headers["etag"]}
        assert (await client.get("/", headers=had)).status_code == 304
        assert (await client.get("/?sort=gap", headers=had)).status_code == 200
        labeled.label(label(7))
        assert (await client.get("/", headers=had)).status_code == 200
