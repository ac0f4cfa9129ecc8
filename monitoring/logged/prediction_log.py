"""Writes logged predictions to the ledger, each once, however often it is sent.

A prediction is recognized by its prediction id, or by its watched version and request id, whatever
time it names. Its key is a UUIDv7, because retention deletes ranges of keys: the caller's own, or
one made of the time served and a hash.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from sqlalchemy import Connection, select

from monitoring.errors import (
    LabelUnknown,
    ModelNotInLedger,
    ModelServed,
    MonitoringError,
    PredictionDiffers,
    PredictionInvalid,
)
from monitoring.feedback.answers import find
from monitoring.ledger.database import in_lists
from monitoring.ledger.predictions import PredictionRow, finding_id, pruned_before_ns, time_of_id
from monitoring.ledger.schema import DAY_NS, prediction
from monitoring.ledger.versions import of_model
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.logged.items import LoggedItem, LoggedResult, LoggedStatus, read_answer, rejected
from monitoring.patient_id import PatientKey

AHEAD_NS = DAY_NS  # how far the clock of a client may be ahead
_SAME = 1e-6


class _RecordedAnswer(NamedTuple):
    watched_version_id: int
    predicted: int
    confidence: float


class PredictionLog:
    """The predictions of one transaction: call `judge` once, then write `rows`."""

    def __init__(
        self,
        connection: Connection,
        versions: dict[int, WatchedVersion],
        *,
        patients: PatientKey,
        now_ns: int,
    ) -> None:
        self._patients = patients
        self.rows: list[PredictionRow] = []
        self._connection = connection
        self._versions = versions
        self._now_ns = now_ns
        self._models: dict[str, list[WatchedVersion]] = {}
        self._keys: dict[tuple[int, str], bytes] = {}  # by calibration and request id
        self._known: dict[bytes, _RecordedAnswer] = {}
        self._pruned_before_ns = 0

    def apart(self, item: LoggedItem) -> "list[LoggedItem] | LoggedResult":
        """Return an item for each finding of an image, or the refusal of one that does not fit."""
        self._row(item)
        rows = [
            row
            for row in self._models[item.model]
            if row.is_logged and item.version in (None, row.version)
        ]
        known = [row.finding for row in rows if rows and row.version == rows[0].version]
        try:
            return item.checked(known).apart(known)
        except MonitoringError as error:
            return rejected(type(error), str(error))

    def judge(self, items: Sequence[LoggedItem]) -> list[LoggedResult]:
        """Check the items, one result each; new predictions go to `rows`."""
        rows = [self._row(item) for item in items]
        named = [(item, row) for item, row in zip(items, rows, strict=True) if row is not None]
        self._look_up(named)
        self._pruned_before_ns = pruned_before_ns(self._connection)
        return [self._one(item, row) for item, row in zip(items, rows, strict=True)]

    def _row(self, item: LoggedItem) -> WatchedVersion | None:
        """The declared version that made this prediction; the newest if the item names none."""
        if item.model not in self._models:
            known = of_model(self._connection, item.model)
            self._models[item.model] = sorted(known, key=lambda row: -row.version)
        for row in self._models[item.model]:
            fits = row.is_logged and item.version in (None, row.version)
            if fits and row.finding == item.finding:
                self._versions.setdefault(row.watched_version_id, row)
                return row
        return None

    def _undeclared(self, item: LoggedItem) -> LoggedResult:
        """The rejection of a prediction of no declared version."""
        if any(
            not row.is_logged and item.version in (None, row.version)
            for row in self._models[item.model]
        ):
            return rejected(ModelServed, str(ModelServed(item.model, item.version)))
        unknown = (
            f"{ModelNotInLedger(item.model, item.version)} Declare it first, with `candor "
            "predictions --classes X,Y` or POST /models-log."
        )
        return rejected(ModelNotInLedger, unknown)

    def _look_up(self, named: Sequence[tuple[LoggedItem, WatchedVersion]]) -> None:
        """Look up which of these predictions the ledger already has."""
        ids = {row.watched_version_id for _, row in named}
        for portion in in_lists(
            sorted({item.request_id for item, _ in named if item.request_id is not None})
        ):
            wanted = select(
                prediction.c.watched_version_id, prediction.c.request_id, prediction.c.prediction_id
            ).where(prediction.c.request_id.in_(portion), prediction.c.watched_version_id.in_(ids))
            for watched_version_id, request_id, key in self._connection.execute(wanted):
                self._keys[watched_version_id, request_id] = key
        answers = find(self._connection, (self._key(item, row) for item, row in named))
        for key, answer in answers.items():
            self._known[key] = _RecordedAnswer(
                answer.watched_version_id, answer.predicted, answer.confidence
            )

    def _key(self, item: LoggedItem, row: WatchedVersion) -> bytes:
        if item.prediction_id is not None:
            return finding_id(item.prediction_id, row.finding)
        request_id = item.request_id or ""
        known = self._keys.get((row.watched_version_id, request_id))
        if known is not None:
            return known
        first = min(
            each.watched_version_id
            for each in self._models[row.model]
            if each.version == row.version
        )
        image_id = make_key(self._served_at_ns(item), first, request_id)
        return finding_id(image_id, row.finding)

    def _served_at_ns(self, item: LoggedItem) -> int:
        if item.served_at_ns is not None:
            return item.served_at_ns
        return self._now_ns if item.prediction_id is None else time_of_id(item.prediction_id)

    def _one(self, item: LoggedItem, row: WatchedVersion | None) -> LoggedResult:
        if row is None:
            return self._undeclared(item)
        if item.label is not None and row.label_index(item.label) is None:
            return rejected(LabelUnknown, str(LabelUnknown(item.label, row.classes)))
        try:
            said = read_answer(item, row)
        except PredictionInvalid as error:
            return rejected(PredictionInvalid, str(error))
        key, served_at_ns = self._key(item, row), self._served_at_ns(item)
        if (known := self._known.get(key)) is not None:
            return _compare(
                key, known, _RecordedAnswer(row.watched_version_id, said.predicted, said.confidence)
            )
        if served_at_ns > self._now_ns + AHEAD_NS:
            return rejected(
                PredictionInvalid, "The answer was served in the future: more than a day from now."
            )
        if served_at_ns < self._pruned_before_ns:
            return LoggedResult(
                LoggedStatus.EXPIRED, key, detail="The ledger no longer keeps answers of that day."
            )
        self._known[key] = _RecordedAnswer(row.watched_version_id, said.predicted, said.confidence)
        if item.request_id is not None:
            self._keys[row.watched_version_id, item.request_id] = key
        rest = (item.tags, item.audit, self._patients.hash(item.patient))
        answer = PredictionRow(
            key, row.watched_version_id, item.request_id, *said, served_at_ns, *rest
        )
        self.rows.append(answer._replace(scope_p=item.scope_p))
        return LoggedResult(LoggedStatus.ACCEPTED, key)


def make_key(served_at_ns: int, watched_version_id: int, request_id: str) -> bytes:
    """The UUIDv7 of a prediction: the same for the same arguments.

    >>> from uuid import UUID
    >>> UUID(bytes=make_key(10**18, 1, "scan-7")).version
    7
    """
    digest = blake2b(f"{watched_version_id} {request_id}".encode(), digest_size=10).digest()
    milliseconds = (served_at_ns // 1_000_000).to_bytes(6, "big")
    return (
        milliseconds
        + bytes([0x70 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F])
        + digest[3:]
    )


def _compare(key: bytes, known: _RecordedAnswer, said: _RecordedAnswer) -> LoggedResult:
    if known[:2] == said[:2] and abs(known.confidence - said.confidence) <= _SAME:
        return LoggedResult(LoggedStatus.UNCHANGED, key)
    return rejected(
        PredictionDiffers,
        "The ledger has an answer of this id that says something else; an answer is never changed.",
    )
