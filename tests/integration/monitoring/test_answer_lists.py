"""Searches of answers, against a search by hand through everything that was served."""

from collections.abc import Callable
from urllib.parse import parse_qsl
from uuid import UUID

import numpy as np
import pytest

from calibration.bins import BIN_EDGES
from model_store.tags import tags_of
from monitoring.errors import QueryInvalid
from monitoring.ledger import answer_search
from monitoring.ledger.versions import load
from monitoring.reports.answers import list_answers
from monitoring.routes.answers import read_before, read_filter
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    label,
    make_row,
)
from tests.builders.findings import findings_card
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel

DATABASES = BOTH_DATABASES
FIRST_DAY = NOW_NS // DAY_NS - 40
COUNT = 300
RNG = np.random.default_rng(5)
CONFIDENCE = RNG.uniform(0.5, 1.0, COUNT).astype(np.float32).astype(float)
CONFIDENCE[:5] = BIN_EDGES[-5:]
SITE = RNG.choice(["A", "B", 'C"site": "A', "ä"], COUNT)
DEVICE = RNG.choice(["1", "2", "10"], COUNT)
SAID = RNG.integers(0, 2, COUNT)
TRUE = np.where(RNG.random(COUNT) < 0.4, np.where(RNG.random(COUNT) < 0.7, SAID, 1 - SAID), -1)
DAY = FIRST_DAY + np.sort(RNG.choice([0, 1, 2, 10, 30], COUNT))


def time_ns(number: int) -> int:
    return int(DAY[number]) * DAY_NS + number * SECOND_NS


def fill(monitored: MonitoredModel) -> None:
    """Serve and label the answers; every third one has no tags."""
    rows = [
        make_row(
            number,
            watched_version_id=monitored.watched_version_id,
            confidence=CONFIDENCE[number],
            predicted=int(SAID[number]),
            request_id=f"scan-{number}",
            served_at_ns=time_ns(number),
        )._replace(
            tags=tags_of({"device": str(DEVICE[number]), "site": str(SITE[number])})
            if number % 3
            else None,
            audit=0.5 if number % 7 == 0 else None,
            scope_p=0.01 if number % 11 == 0 else 0.5,
        )
        for number in range(COUNT)
    ]
    monitored.serve(*rows)
    labeled = [number for number in range(COUNT) if TRUE[number] >= 0]
    monitored.label(*(label(n, CLASSES[TRUE[n]], at_ns=time_ns(n)) for n in labeled))


def by_hand(keep: Callable[[int], bool]) -> list[str]:
    """The request ids of the answers that are to be found, newest first."""
    return [f"scan-{number}" for number in reversed(range(COUNT)) if keep(number)]


SEARCHES: dict[str, Callable[[int], bool]] = {
    "": lambda n: True,
    "site=A": lambda n: n % 3 > 0 and SITE[n] == "A",
    "site=A,B": lambda n: n % 3 > 0 and SITE[n] in ("A", "B"),
    "site=A,a": lambda n: False,
    "site=a": lambda n: False,
    "site=A,B&others=1": lambda n: n % 3 == 0 or SITE[n] not in ("A", "B"),
    "site=A&bin=0.87-0.93&others=1": lambda n: (
        not (n % 3 and SITE[n] == "A" and BIN_EDGES[12] < CONFIDENCE[n] <= BIN_EDGES[13])
    ),
    "predicted=normal&others=1&wrong=1": lambda n: SAID[n] == 1 and TRUE[n] == 0,
    "predicted=normal,pneumonia": lambda n: True,
    "site=%C3%A4&device=1": lambda n: n % 3 > 0 and SITE[n] == "ä" and DEVICE[n] == "1",
    "ward=A": lambda n: False,
    "wrong=1": lambda n: TRUE[n] >= 0 and TRUE[n] != SAID[n],
    "wrong=0": lambda n: TRUE[n] == SAID[n],
    "labeled=0": lambda n: TRUE[n] < 0,
    "labeled=1&predicted=normal": lambda n: TRUE[n] >= 0 and SAID[n] == 0,
    "predicted=pneumonia&label=normal": lambda n: SAID[n] == 1 and TRUE[n] == 0,
    "audit=1&labeled=1": lambda n: n % 7 == 0 and TRUE[n] >= 0,
    "doubtful=1&site=B": lambda n: n % 11 == 0 and n % 3 > 0 and SITE[n] == "B",
    "bin=0.87-0.93": lambda n: BIN_EDGES[12] < CONFIDENCE[n] <= BIN_EDGES[13],
    "bin=0.93-1&wrong=1": lambda n: CONFIDENCE[n] > BIN_EDGES[13] and 0 <= TRUE[n] != SAID[n],
    "bin=0.9-0.91": lambda n: 0.9 < CONFIDENCE[n] <= 0.91,
    "bin=0-0.4": lambda n: False,
}


@pytest.mark.parametrize("searched", [answer_search.SEARCHED, 60])
def test_a_search_finds_what_a_reader_of_all_answers_finds(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, searched: int
) -> None:
    monkeypatch.setattr(answer_search, "SEARCHED", searched)
    monkeypatch.setattr(answer_search, "_FIRST", min(searched, 20))
    fill(monitored)
    days = {
        "from": lambda n: DAY[n] >= FIRST_DAY + 2,
        "to": lambda n: DAY[n] <= FIRST_DAY + 10,
    }
    dates = {"from": FIRST_DAY + 2, "to": FIRST_DAY + 10}
    epoch = np.datetime64("1970-01-01")
    for query, keep in SEARCHES.items():
        assert found(monitored, query) == by_hand(keep), query
        for end, holds in days.items():
            within = f"{query}&{end}={epoch + np.timedelta64(dates[end], 'D')}"
            expected = by_hand(lambda n, keep=keep, holds=holds: keep(n) and holds(n))
            assert found(monitored, within) == expected, within


def found(monitored: MonitoredModel, query: str) -> list[str]:
    """The request ids of all pages, each of forty answers at most."""
    params = dict(parse_qsl(query))
    names: list[str] = []
    before = read_before(params)
    with monitored.ledger.read() as connection:
        (row,) = load(connection, [monitored.watched_version_id])
        for _ in range(COUNT):
            page = list_answers(connection, row, read_filter(params), before=before, limit=40)
            names += [each.request_id or "" for each in page.answers]
            if page.before is None:
                break
            before = UUID(page.before).bytes
        else:
            pytest.fail("the pages have no end")
    return names


def test_of_a_finding_its_threshold_says_what_was_answered(ledger_url: str) -> None:
    card = findings_card(thresholds=(0.3, 0.5, 0.5))
    probabilities = [[0.2, 0.9, 0.1], [0.4, 0.9, 0.1], [0.6, 0.9, 0.1], [0.8, 0.9, 0.1]]
    with MonitoredModel(ledger_url, Clock(), card=card) as chest:
        chest.serve_findings(range(4), probabilities)
        name = card.classes[0]
        truths = ("present", "absent", "present", "absent")
        chest.label(*(label(n, truths[n])._replace(finding=name) for n in range(4)))
        with chest.ledger.read() as connection:
            (row,) = load(connection, chest.watched_version_ids[:1])

            def numbers(**query: str) -> list[int]:
                page = list_answers(connection, row, read_filter(query), limit=50)
                return [UUID(each.prediction_id).int & 0xFFFF for each in page.answers]

            assert numbers() == [3, 2, 1, 0]
            assert numbers(predicted="absent") == [0]
            assert numbers(predicted="present", label="absent") == [3, 1]
            assert numbers(wrong="1") == [3, 1, 0]
            assert numbers(wrong="0") == [2]
            assert numbers(bin="0.5-1") == [3, 2]


def test_filters_that_cannot_be_read_are_refused(monitored: MonitoredModel) -> None:
    for query in (
        *("wrong=2", "audit=0", "bin=0.9", "bin=0.9-0.8", "bin=-1-1", "bin=nan-1", "before=x"),
        *("from=yesterday", "from=2026-11-09&to=2026-11-08", "tag=site", "predicted=cat"),
    ):
        with pytest.raises(QueryInvalid):
            found(monitored, query)
