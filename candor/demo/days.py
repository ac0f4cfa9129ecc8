"""Step 3: thirty days at two sites, one of which changes its scanner.

The answers are the model's own. They are written into the ledger as of those days, in the way that
a server writes them.
"""

import time
from collections.abc import Generator
from itertools import cycle, islice
from queue import SimpleQueue
from typing import Final

import numpy as np
import numpy.typing as npt
import uuid_utils
from prometheus_client import CollectorRegistry

from calibration.document import Heading, Part
from candor.demo.session import (
    CHANGED,
    PICTURES_DAYS,
    SITES,
    DemoSession,
    OfflineAnswers,
    verdict_of,
)
from candor.terminal.progress import bars
from model_store.tags import tags_of
from monitoring.diagnosis.phrases import day
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.ledger.pictures import Picture, keep_pictures
from monitoring.ledger.predictions import first_id
from monitoring.ledger.schema import DAY_NS
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.picture_keeper import LIMIT_BYTES, as_png
from monitoring.recording.recorder import Recorder
from monitoring.reports.report import Report, calibration_report
from training.datasets import Split

DAYS: Final = 30
CHANGES: Final = 15  # days before the scanner is changed
IMAGES: Final = 27  # a day and site; of small data sets some come again
OPENS_NS, APART_NS, LABELED_NS = 8 * 3_600 * 10**9, 600 * 10**9, 12 * 3_600 * 10**9


class _Calendar:
    """The clock of a ledger that is written as of other days."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def live_thirty_days(session: DemoSession, version: int) -> Generator[Part, None, Report]:
    """Write the days until yesterday, and return what the ledger then says."""
    first = time.time_ns() // DAY_NS - DAYS
    clock, order = _Calendar(), session.order
    home = cycle(order.permutation(len(session.home)).tolist())
    new = cycle(session.parts[0].tolist())
    with Ledger(session.ledger_url, clock=clock) as ledger, bars() as progress:
        with Recorder(
            ledger, MonitorMetrics(CollectorRegistry()), tags=TagSettings(("site",))
        ) as recorder:
            clock.now_ns = first * DAY_NS
            site_day = SiteDay(session, version, ledger, recorder)
            for number in range(DAYS):
                start_ns = (first + number) * DAY_NS + OPENS_NS
                clock.now_ns = start_ns + LABELED_NS
                for site in SITES:
                    is_new = site == CHANGED and number >= CHANGES
                    split, deal = (session.test, new) if is_new else (session.home, home)
                    site_day.live(site, split, [*islice(deal, IMAGES)], start_ns)
                progress("days", number + 1, DAYS)
        report = calibration_report(ledger, session.model)
    changed_s = (first + CHANGES) * DAY_NS // 10**9
    yield Heading("3. Thirty days")
    yield (
        f"{' and '.join(SITES)} sent {IMAGES} images a day each, and the true classes in the "
        f"evening. On {day(changed_s)} {CHANGED} changed its scanner, for which images of the test "
        "split stand in from then on."
    )
    yield verdict_of(report)
    session.figures["days"] = {"changed_s": changed_s, "report": report.as_dict()}
    return report


class SiteDay:
    """Writes what a site sends on a day: the answers, their images, and their labels."""

    def __init__(
        self, session: DemoSession, version: int, ledger: Ledger, recorder: Recorder
    ) -> None:
        bundle = session.store.read(session.model, version)
        self._session, self._ledger, self._recorder = session, ledger, recorder
        self._input = bundle.card.input.spec
        self._answers = OfflineAnswers(session, version)
        (self._watched,) = recorder.register(bundle.card, digest=bundle.digest)
        recorder.promote(self._watched).result()

    def live(self, site: str, split: Split, indices: list[int], start_ns: int) -> None:
        found = self._answers.of(split, indices, site)
        rows = [
            self._row(p, scope_p, tags_of({"site": site}), start_ns + place * APART_NS)
            for place, (p, scope_p) in enumerate(
                zip(found.probabilities, found.scope_of_each(), strict=True)
            )
        ]
        written: SimpleQueue[BaseException | None] = SimpleQueue()
        self._recorder.record(rows, written.put)
        if (failed := written.get()) is not None:
            raise failed
        self._keep(split, indices, rows)
        labels = self._session.labels(split, indices)
        ids = (row.prediction_id for row in rows)
        self._recorder.feedback([*map(FeedbackItem, labels, ids)]).result()

    def _keep(self, split: Split, indices: list[int], rows: list[PredictionRow]) -> None:
        """Keep the images, which are public, so that the pages of cases show them."""
        found = [
            Picture(row.prediction_id, as_png(split.images.input(index, self._input)))
            for index, row in zip(indices, rows, strict=True)
        ]
        expires_at_ns = time.time_ns() + PICTURES_DAYS * DAY_NS
        with self._ledger.write() as connection:
            keep_pictures(connection, found, expires_at_ns=expires_at_ns, limit_bytes=LIMIT_BYTES)

    def _row(
        self, p: npt.NDArray[np.float32], scope_p: float | None, tags: str | None, at_ns: int
    ) -> PredictionRow:
        identity, best = first_id(at_ns)[:6] + uuid_utils.uuid7().bytes[6:], int(p.argmax())
        said = (best, float(p[best]), p.astype("<f4").tobytes())
        return PredictionRow(identity, self._watched, None, *said, at_ns, tags, scope_p=scope_p)
