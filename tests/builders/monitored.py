"""A ledger and its recorder as tests use them: all is checked against a recount."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from calibration.bins import BinSums
from calibration.calibrators.temperature import apply_temperature, softmax
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from console.error_pages import ERROR_HANDLERS
from console.routes import ledger_pages
from model_store.bundle.card import Card
from model_store.store.store import Store
from monitoring.drift import watch
from monitoring.drift.replay import replay
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem, FeedbackPolicy
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import Endpoint, routes_of
from monitoring.ledger import Ledger, PredictionRow
from monitoring.ledger.predictions import presence_rows
from monitoring.ledger.sums import LedgerSums, read_sums
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.ledger_gauges import LedgerGauges, ledger_name
from monitoring.recording.recorder import Recorder
from monitoring.recording.spool import Spool
from monitoring.routes import endpoints
from monitoring.sources import LabelPolicy
from tests.builders.answers import (
    CLASSES,
    NOW_NS,
    SECOND_NS,
    draw,
    label,
    make_card,
    make_row,
    prediction_id,
    row_of,
)
from tests.builders.processes import PATIENCE_S


class Clock:
    """Nanoseconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


BOTH_DATABASES = ("sqlite", "postgresql")


class MonitoredModel:
    """`where` is a URL, or the path of a SQLite file. `watched_version_ids` are those of `card`,
    registered at the start, `watched_version_id` is the first of them.
    """

    def __init__(
        self,
        where: str | Path,
        clock: Clock,
        *,
        settings: DriftSettings | None = None,
        tags: TagSettings | None = None,
        policy: FeedbackPolicy | None = None,
        card: Card | None = None,
        timeout_s: float = 5.0,
        spool: Spool | None = None,
        sources: dict[str, LabelPolicy] | None = None,
    ) -> None:
        self.card = card or make_card()
        url = where if isinstance(where, str) else f"sqlite:///{where}"
        self.ledger = Ledger(url, clock=clock, timeout_s=timeout_s)
        self.registry = CollectorRegistry()
        self.metrics = MonitorMetrics(self.registry)
        self.recorder = Recorder(
            self.ledger,
            self.metrics,
            settings=settings,
            tags=tags,
            policy=policy,
            spool=spool,
            sources=sources,
        )
        self.watched_version_ids = self.recorder.register(self.card)
        self.watched_version_id = self.watched_version_ids[0]

    def serve(self, *rows: PredictionRow, **more: Any) -> None:
        """Record answers and wait for the commit; raises what prevented it."""
        heard: SimpleQueue[BaseException | None] = SimpleQueue()
        self.recorder.record(rows, heard.put, **more)
        if (error := heard.get(timeout=PATIENCE_S)) is not None:
            raise error

    def serve_findings(
        self, numbers: Iterable[int], probabilities: npt.ArrayLike, **image: Any
    ) -> None:
        """Serve images with findings, (K,) or (N, K); `image` changes what their rows share."""
        numbers = list(numbers)
        each = np.broadcast_to(probabilities, (len(numbers), len(self.card.classes))).tolist()
        ids = dict(zip(self.card.classes, self.watched_version_ids, strict=True))
        rows = [
            presence_rows(make_row(number)._replace(**image), ids, p)
            for number, p in zip(numbers, each, strict=True)
        ]
        self.serve(*(row for of_image in rows for row in of_image))

    def label(self, *items: FeedbackItem) -> list[str]:
        """Record labels; returns the status of each."""
        return [
            result.status.value
            for result in self.recorder.feedback(items).result(timeout=PATIENCE_S)
        ]

    def label_findings(self, numbers: Iterable[int], present: npt.ArrayLike) -> None:
        """Label images with all their findings, (N, K)."""
        words, names = np.where(present, "present", "absent").tolist(), self.card.classes
        self.label(
            *(
                FeedbackItem("", prediction_id(n), findings=dict(zip(names, row, strict=True)))
                for n, row in zip(numbers, words, strict=True)
            )
        )

    def answer(
        self,
        numbers: Iterable[int],
        *,
        wrong: int = 0,
        confidence: float = 0.9,
        both: bool = False,
        audit: float | None = None,
        tags: str | None = None,
    ) -> None:
        """Serve answers of one confidence and label them: every `wrong`-th is wrong (0: none).

        They say "pneumonia", or `both` classes, four in a row.
        """
        numbers = list(numbers)
        predicted = [n // 4 % 2 if both else 1 for n in numbers]
        rows = (
            make_row(
                n, watched_version_id=self.watched_version_id, confidence=confidence, predicted=k
            )._replace(audit=audit, tags=tags)
            for n, k in zip(numbers, predicted, strict=True)
        )
        self.serve(*rows)
        right = (not wrong or n % wrong > 0 for n in numbers)
        names = (CLASSES[k == ok] for k, ok in zip(predicted, right, strict=True))
        self.label(*(label(n, name) for n, name in zip(numbers, names, strict=True)))

    def sums(self, watched_version_id: int | None = None) -> LedgerSums:
        """The stored day sums."""
        with self.ledger.read() as connection:
            return read_sums(connection, watched_version_id or self.watched_version_id)

    def detectors(
        self, watched_version_id: int | None = None, *, name: str = ""
    ) -> tuple[DriftDetector, DriftDetector]:
        """The stored detector of a slice, and the replayed one."""
        with self.ledger.read() as connection:
            watched = watch.load(connection, watched_version_id or self.watched_version_id, name)
            return watched.detector, replay(connection, watched.watched_version_id, name)

    def replayed(self, name: str = "", watched_version_id: int | None = None) -> DriftDetector:
        """The stored detector, which is the replayed one, bit for bit."""
        stored, replayed = self.detectors(watched_version_id, name=name)
        assert_same_state(stored, replayed)
        return stored

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample's value, None if there is no such series."""
        where = {"model": self.card.name, "version": str(self.card.version), "finding": ""} | labels
        if name.startswith("calibration_drift") and not name.endswith("_total"):
            with self.ledger.read() as connection:
                where["ledger"] = ledger_name(connection)
            drift = CollectorRegistry()
            drift.register(LedgerGauges(self.ledger))
            return drift.get_sample_value(f"candor_{name}", where)
        return self.registry.get_sample_value(f"candor_{name}", where)

    def rows(self, sql: str) -> list[Any]:
        """What the database holds."""
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    def close(self) -> None:
        self.recorder.close()
        self.ledger.close()

    def __enter__(self) -> "MonitoredModel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@asynccontextmanager
async def client_of(
    monitored: MonitoredModel, table: Iterable[Endpoint] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of these endpoints; by default, of all that the monitoring room has."""
    table = table or endpoints(monitored.recorder, monitored.ledger, monitored.metrics)
    app = Starlette(routes=routes_of(table), exception_handlers=ERROR_HANDLERS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
        yield client


def page_client_of(
    monitored: MonitoredModel,
    folder: Path,
    *,
    production: Callable[[str], int | None] = lambda _: None,
    **options: Any,
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """A client of the monitoring room's endpoints and of a monitor's pages, which take `options`."""
    ledger, recorder = monitored.ledger, monitored.recorder
    store = Store(folder / "store")
    table = endpoints(recorder, ledger, monitored.metrics, production=production)
    places: dict[str, Any] = {"bodies": BodyBudget(), "store": store, "serves": False}
    pages = ledger_pages(recorder, ledger, production=production, **places, **options)
    return client_of(monitored, [*table, *pages])


def assert_same_state(one: DriftDetector, other: DriftDetector) -> None:
    """Bit for bit."""
    assert one.state.as_dict() == other.state.as_dict()
    assert one.settings == other.settings


def assert_same_sums(stored: BinSums, answers: Sequence[tuple[float, bool]]) -> None:
    """Counts exactly, sums of floats but for the order of addition."""
    confidence, correct = zip(*answers, strict=True) if answers else ((), ())
    counted = BinSums.from_predictions(
        np.array(confidence, dtype=float), np.array(correct, dtype=bool)
    )
    np.testing.assert_array_equal(stored.n, counted.n)
    np.testing.assert_array_equal(stored.correct, counted.correct)
    for name in ("confidence", "variance", "squared_error"):
        np.testing.assert_allclose(getattr(stored, name), getattr(counted, name), atol=1e-9)


def answer(
    monitored: MonitoredModel,
    count: int,
    *,
    sharp: float,
    seed: int = 0,
    bias: tuple[float, ...] = (0, 0, 0),
    labeled: float = 1.0,
    audit: float | None = None,
) -> None:
    """Serve answers too sharp by a factor, and label a share of them."""
    rng, now_ns = np.random.default_rng(seed), monitored.ledger.clock()
    honest = rng.normal(0, 2.5, (count, 3))
    truth = draw(rng, softmax(honest + np.array(bias)))
    known = {"watched_version_id": monitored.watched_version_id, "audit": audit}
    rows = [
        row_of(10_000 * seed + number, p, at_ns=now_ns + number * SECOND_NS, **known)
        for number, p in enumerate(softmax(sharp * honest))
    ]
    monitored.serve(*rows)
    chosen = np.flatnonzero(rng.random(count) < labeled)
    names = monitored.card.classes
    monitored.label(*(FeedbackItem(names[truth[n]], rows[n].prediction_id) for n in chosen))


def record_unsure_answers(
    url: str, card: Card, *, request_id: str | None = None, tags: dict[str, str] | None = None
) -> None:
    """Record 150 answers that are far too unsure, with their labels, in the ledger at `url`."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([3, 2, 2], 150)
    truth = draw(rng, apply_temperature(np.log(probabilities), 0.2))
    with Ledger(url) as ledger, Recorder(ledger, MonitorMetrics(CollectorRegistry())) as recorder:
        (version,) = recorder.register(card)
        known = {"watched_version_id": version, "request_id": request_id}
        known["tags"] = None if tags is None else json.dumps(tags)
        rows = [
            row_of(number, p, at_ns=ledger.clock(), **known)
            for number, p in enumerate(probabilities)
        ]
        recorder.record(rows, lambda error: None)
        pairs = zip(truth, rows, strict=True)
        items = [FeedbackItem(card.classes[true], row.prediction_id) for true, row in pairs]
        recorder.feedback(items).result()
