"""The recorder: what may be asked of the one thread that writes to the ledger
(writing_thread.py).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress

from sqlalchemy import Connection

from calibration.drift.state import DriftSettings
from model_store.bundle.card import Card
from monitoring.drift import events, watch
from monitoring.drift.acknowledgment import Restart, acknowledge
from monitoring.drift.events import ACKNOWLEDGED, NOTED
from monitoring.drift.source_change import change_settings
from monitoring.drift.tag_settings import TagSettings, watch_of
from monitoring.errors import ModelNotInLedger, RecorderClosed, TagNotWatched
from monitoring.feedback.items import FeedbackItem, FeedbackResult, Reason, TransactionCounts
from monitoring.feedback.labeling import FeedbackPolicy
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock, lock_versions
from monitoring.ledger.patient_key import open_patient_key
from monitoring.ledger.predictions import PredictionRow, by_image, recorded
from monitoring.ledger.sum_changes import InputSums
from monitoring.ledger.sum_tables import SliceNames
from monitoring.ledger.version_events import note_promotion, note_shadow
from monitoring.ledger.versions import choose, load, register, visible_versions
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.logged.declaration import LoggedCard, declare
from monitoring.logged.items import LoggedItem, LoggedResult
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.queue import (
    LOGGED_AT_ONCE,
    Batch,
    Done,
    Labels,
    gather,
    labels_in_portions,
)
from monitoring.recording.spool import Spool
from monitoring.recording.writing_thread import GroupWriter, WritingThread
from monitoring.sources import LabelPolicy


class Recorder:
    """Writes answers, labels and detector states. Its methods may be called from any thread.

    `settings` and `tags` apply to every version registered here, `sources`, the policies of label
    sources, to every model (None leaves what the ledger has of either), `policy` to every label.
    `patient_key` is the secret of a file, if the ledger is not to make its own. Answers in a
    `spool` are moved to the ledger; a spool with room takes answers while the ledger is away.
    Closing the recorder writes everything that waits.
    """

    def __init__(
        self,
        ledger: Ledger,
        metrics: MonitorMetrics,
        *,
        settings: DriftSettings | None = None,
        tags: TagSettings | None = None,
        policy: FeedbackPolicy | None = None,
        spool: Spool | None = None,
        patient_key: bytes | None = None,
        sources: Mapping[str, LabelPolicy] | None = None,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._settings, self._tags = settings or DriftSettings(), tags
        self._versions: dict[int, WatchedVersion] = {}  # used by the writer's thread alone
        slices = SliceNames(self._versions)
        self.patients = open_patient_key(ledger, patient_key)
        policy = policy or FeedbackPolicy()
        self._commit = GroupWriter(self._versions, policy, slices, self.patients, ledger.shard)
        self._thread = WritingThread(
            ledger, metrics, self._commit, self._versions, spool=spool, over=self._wake
        )
        if sources is not None:
            change_settings(ledger, sources)
        with ledger.read() as connection:  # labels may arrive before their version is served again
            self._know(self._unknown(connection))
        self._thread.start()

    def register(self, card: Card, *, digest: str | None = None) -> tuple[int, ...]:
        """Register a bundle and start its drift watch before it serves; return the watched version
        id for its rows, or one for each finding.

        Args:
            digest: of the bundle's manifest. Raises BundleReplaced if the ledger knows the version
                from another bundle.
        """

        def entered(connection: Connection, now_ns: int) -> list[WatchedVersion]:
            return register(connection, card, digest=digest, now_ns=now_ns)

        return tuple(row.watched_version_id for row in self._enter(entered).result())

    def promote(self, *watched_version_ids: int) -> Future[None]:
        """Record that this version is in production from now on, once for all replicas."""
        return self._note(note_promotion, watched_version_ids)

    def shadow(self, *watched_version_ids: int) -> Future[None]:
        """Record once that this version answers as a shadow of others."""
        return self._note(note_shadow, watched_version_ids)

    def record(
        self, rows: Sequence[PredictionRow], done: Done, *, inputs: InputSums | None = None
    ) -> None:
        """Write a batch of answers. The writer's thread calls `done` with None after the commit,
        else with the error.

        `inputs`: the brightness of their images, if the card has a reference for it.
        """
        try:
            self._thread.put(Batch(rows, done, inputs))
        except RecorderClosed as error:
            done(error)

    def recorded(
        self, watched_version_ids: Sequence[int], request_ids: Sequence[str]
    ) -> Future[dict[bytes, list[PredictionRow]]]:
        """Find the answers of a version with these request ids, after all that waits before, and
        after commits of any process whose outcome is open.

        They are by the id of their image: one row, or one for each finding.
        """

        def find(connection: Connection) -> dict[bytes, list[PredictionRow]]:
            lock(connection, Lock.REQUESTS)
            return by_image(recorded(connection, watched_version_ids, request_ids), self._versions)

        return self._thread.submit(find, lambda _: None)

    def feedback(self, items: Sequence[FeedbackItem]) -> Future[list[FeedbackResult]]:
        """Write labels, one result each. If it fails, sending the same again is safe."""
        items = [
            each
            if each.patient is None
            else each._replace(patient=self.patients.hash(str(each.patient)))
            for each in items
        ]
        portions = [Labels(portion) for portion in labels_in_portions(items)]
        self._thread.put(*portions)
        return gather([portion.future for portion in portions])

    def acknowledge(
        self,
        model: str,
        version: int | None = None,
        *,
        finding: str | None = None,
        note: str | None = None,
        actor: str | None = None,
        kind: str = ACKNOWLEDGED,
        audit: bool | None = None,
        chosen_labels: bool = False,
        named: Sequence[tuple[int | None, str | None]] = ((None, None),),
    ) -> Future[tuple[WatchedVersion, list[Restart]]]:
        """Reset a version's detectors, all or none, by default of the last registered version.
        Fails with ModelNotInLedger, FindingUnknown and FindingNeeded.

        `actor`, `audit` and `chosen_labels` are those of `acknowledgment.acknowledge`; it fails
        with AuditMissing, too. `named`: by `alarm`, as there, and the tag, such as `site=B`: that
        of a tag alone; DOUBTFUL: that of doubtful images; fails with TagNotWatched.
        """

        def reset(
            connection: Connection, row: WatchedVersion, alarm: int | None, tag: str | None
        ) -> Restart:
            now_ns = self._ledger.clock()
            restart = acknowledge(
                connection,
                row.watched_version_id,
                note=note,
                actor=actor,
                now_ns=now_ns,
                kind=kind,
                audit=audit,
                chosen_labels=chosen_labels,
                name=watch_of(tag),
                alarm=alarm,
            )
            if restart is None:
                raise (
                    ModelNotInLedger(model, version)
                    if tag is None
                    else TagNotWatched(tag, model, row.version)
                )
            return restart

        def reset_all(connection: Connection) -> tuple[WatchedVersion, list[Restart]]:
            row = choose(connection, model, version, finding)
            lock(connection, Lock.VERSION, row.watched_version_id)
            return row, [reset(connection, row, *each) for each in named]

        return self._thread.submit(reset_all, lambda known: self._know([known[0]]))

    def note(
        self, model: str, version: int | None, *, finding: str | None, text: str, actor: str
    ) -> Future[WatchedVersion]:
        """Write in a version's history what somebody has seen or done. Fails as `acknowledge`."""

        def write(connection: Connection) -> WatchedVersion:
            row = choose(connection, model, version, finding)
            key, detail = row.watched_version_id, {"note": text, "actor": actor}
            now_ns = self._ledger.clock()
            events.record(connection, key, NOTED, detail, feedback_id=0, now_ns=now_ns)
            return row

        return self._thread.submit(write, lambda row: self._know([row]))

    def declare(self, card: LoggedCard) -> Future[list[WatchedVersion]]:
        """Register a model served elsewhere. Fails with ModelDiffers, ModelServed, ModelsFull."""

        def entered(connection: Connection, now_ns: int) -> list[WatchedVersion]:
            return declare(connection, card, now_ns=now_ns)

        return self._enter(entered)

    def log(
        self, items: Sequence[LoggedItem]
    ) -> list[Future[tuple[TransactionCounts, list[LoggedResult]]]]:
        """Write answers of models served elsewhere, in portions; repeating is safe."""
        starts = range(0, len(items), LOGGED_AT_ONCE)
        return [self._log(items[start : start + LOGGED_AT_ONCE]) for start in starts]

    def _log(
        self, items: Sequence[LoggedItem]
    ) -> Future[tuple[TransactionCounts, list[LoggedResult]]]:
        def write(connection: Connection) -> tuple[TransactionCounts, list[LoggedResult]]:
            return self._commit.log(connection, items, now_ns=self._ledger.clock())

        return self._thread.submit(write, lambda done: self._metrics.count(done[0], self._versions))

    @property
    def ledger_is_away(self) -> bool:
        """Whether the ledger failed, and has not been reached since."""
        return self._thread.outage.lasts

    def look_up(self) -> Future[None]:
        """Show at zero the metrics of versions that other processes registered."""

        return self._thread.submit(self._unknown, self._know)

    def reject(self, reason: Reason, count: int = 1) -> None:
        """Count labels that were refused before they reached the recorder."""
        self._metrics.reject(reason, count)

    def close(self) -> None:
        """Write everything that waits, then stop. May be called twice."""
        self._thread.close()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        with suppress(RecorderClosed):
            self.look_up()

    def _enter(
        self, entered: Callable[[Connection, int], list[WatchedVersion]]
    ) -> Future[list[WatchedVersion]]:
        """Enter a version, or its findings, and start their watches."""

        def enter(connection: Connection) -> list[WatchedVersion]:
            now_ns = self._ledger.clock()
            rows = entered(connection, now_ns)
            lock_versions(connection, (row.watched_version_id for row in rows))
            for row in rows:
                key = row.watched_version_id
                watch.start(connection, key, self._settings, tags=self._tags, now_ns=now_ns)
            return rows

        return self._thread.submit(enter, self._know)

    def _note(self, note: Callable[..., None], watched_version_ids: Sequence[int]) -> Future[None]:
        def noted(connection: Connection) -> None:
            for watched_version_id in watched_version_ids:
                note(connection, watched_version_id, now_ns=self._ledger.clock())

        return self._thread.submit(noted, lambda _: None)

    def _unknown(self, connection: Connection) -> list[WatchedVersion]:
        """Return the versions served recently that this process does not know."""
        lately = {
            version.watched_version_id
            for version in visible_versions(connection, now_ns=self._ledger.clock())
        }
        return load(connection, sorted(lately - self._versions.keys()))

    def _know(self, rows: Sequence[WatchedVersion]) -> None:
        for row in rows:
            self._versions[row.watched_version_id] = row
            if not row.is_logged:  # which has series from its first answer on
                self._metrics.create(row)
