"""The soak: load, kill or another event, start again, count again; so many times."""

import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select

from monitoring.drift import watch
from monitoring.ledger import Ledger
from monitoring.ledger.schema import IS_LABELED, feedback, prediction
from monitoring.maintenance.recount import check
from tests.builders.bundles import CLASSES
from tests.soak.events import EVERY, events_of
from tests.soak.load import Book, Load
from tests.soak.site import Site

SERVER, DATABASE = "kill -9 of the server", "kill -9 of the database"
_WARM = 60  # acknowledgments before a kill may come


@dataclass(frozen=True)
class Outcome:
    """After one kill or other event: what it was, and how much was then in the ledger."""

    number: int
    victim: str
    after_s: float
    answers: int
    labels: int
    failed: int

    def __str__(self) -> str:
        return (
            f"{self.number}: {self.victim} after {self.after_s:.2f} s: {self.answers:,} answers, "
            f"{self.labels:,} labels, {self.failed:,} requests refused or broken; all agree"
        )


def soak(folder: Path, database: str, *, kills: int, seed: int, clients: int = 6) -> list[Outcome]:
    """Kill so many times, with other events in between; one Outcome for each.

    Raises AssertionError as soon as the ledger is not what was acknowledged.
    """
    rng = random.Random(seed)
    site = Site(folder, database)
    load: Load | None = None
    outcomes = []
    try:
        site.start_server()
        load = Load(site.url, clients=clients, seed=seed)
        for number, victim in enumerate(_plan(site, kills, rng), 1):
            load.resume()
            load.await_acknowledgments(_WARM)
            after_s = rng.uniform(0.2, 2.0)
            time.sleep(after_s)
            _harm(site, victim, rng, load)
            load.pause()
            assert not load.book.wrong, load.book.wrong[:3]
            verify(site.ledger_url, load.book)
            outcomes.append(
                Outcome(
                    number,
                    victim,
                    after_s,
                    len(load.book.answers),
                    len(load.book.labels),
                    load.book.failed,
                )
            )
            print(outcomes[-1], flush=True)  # `make soak` shows it
        assert load.book.labels, "no label was acknowledged: this tested nothing"
    finally:
        if load is not None:
            load.close()
        site.close()
    return outcomes


def _plan(site: Site, kills: int, rng: random.Random) -> Iterator[str]:
    """What is harmed: after every EVERY kills, and at least once, each other event."""
    others = tuple(events_of(site))
    every = max(1, min(EVERY, kills // len(others)))
    for number in range(kills):
        yield rng.choice([SERVER, DATABASE]) if site.cluster else SERVER
        if number % every == every - 1:
            yield others[number // every % len(others)]


def _harm(site: Site, victim: str, rng: random.Random, load: Load) -> None:
    if victim == DATABASE:
        site.kill_database()  # the server must find it again by itself
    elif victim != SERVER:
        events_of(site)[victim](site, rng, lambda: load.book.failed)
    else:
        site.kill_server()
        site.start_server()


def verify(ledger_url: str, book: Book) -> None:
    """All that was acknowledged is there once, as it was said; a recount agrees."""
    with Ledger(ledger_url) as ledger:
        found = check(ledger)
        assert found.agrees, found.differences
        with ledger.read() as connection:
            answers = connection.execute(
                select(prediction.c.prediction_id, prediction.c.predicted, prediction.c.confidence)
            ).all()
            current = connection.execute(
                select(prediction.c.prediction_id, prediction.c.label).where(IS_LABELED)
            ).all()
            labeled = feedback.c.prediction_id.distinct()
            firsts = connection.scalar(select(func.count(labeled)))
            watched = watch.load(connection, 1)
        held = {str(UUID(bytes=key)): (CLASSES[index], p) for key, index, p in answers}
        nothing = ("", 0.0)
        lost = {
            key: (label, p)
            for key, (label, p) in book.answers.items()
            if held.get(key, nothing)[0] != label
            or abs(held.get(key, nothing)[1] - p) > 1e-8  # JSON has 9 digits
        }
        assert not lost, (
            f"{len(lost)} acknowledged answers are lost or other than they were: "
            f"{list(lost.items())[:3]}"
        )
        labels = {str(UUID(bytes=key)): CLASSES[index] for key, index in current}
        lost_labels = [key for key, label in book.labels.items() if key not in labels]
        assert not lost_labels, (
            f"{len(lost_labels)} acknowledged labels are lost: {lost_labels[:3]}"
        )
        assert firsts == len(labels), (
            f"{firsts} first labels of {len(labels)} answers: one counts twice"
        )
        assert watched.detector.labels == len(labels)
        if ledger.file is not None:
            connection = sqlite3.connect(ledger.file)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
