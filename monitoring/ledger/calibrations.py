"""The calibrations in the ledger: the model, version and card that gave an answer."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from calibration.bins import BinSums
from model_store.bundle.card import Card
from monitoring.errors import BundleReplaced, ModelNotInLedger
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import calibration, monitor_event, monitor_state

PROMOTED = "promoted"  # kind of the event
LOGGED = "logged"  # `origin` on the card of a model that is served elsewhere


@dataclass(frozen=True)
class CalibrationRow:
    """One bundle as the ledger knows it. `card` is the whole JSON of its card, `bundle_digest` that
    of its manifest.
    """

    calibration_id: int
    model: str
    version: int
    card_sha256: str
    card: dict[str, Any]
    registered_at_ns: int
    bundle_digest: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return tuple(self.card["classes"])

    @property
    def is_logged(self) -> bool:
        """Whether the model is served elsewhere and its answers are sent to the log."""
        return self.card.get("origin") == LOGGED

    @property
    def reference(self) -> BinSums:
        """The sums of the labeled answers on which the card's reference rests."""
        return BinSums.from_rows(self.card["calibration"]["bins"])

    @cached_property
    def class_index(self) -> dict[str, int]:
        """Class name -> its index in the probabilities."""
        return {name: index for index, name in enumerate(self.classes)}


def card_sha256(card: Card) -> str:
    """Return the hash that identifies a card in the ledger."""
    return sha256_of(_plain(card))


def sha256_of(card: str) -> str:
    """Return the hash of a card's JSON."""
    return hashlib.sha256(card.encode()).hexdigest()


def register(
    connection: Connection, card: Card, *, digest: str | None = None, now_ns: int
) -> CalibrationRow:
    """Return the row of a card, inserted if it is new. It becomes the model's most recently
    registered one.

    Args:
        digest: of the bundle. Raises BundleReplaced if the ledger knows the version from another
            bundle.
    """
    if digest is not None:
        require_same_bundle(connection, card, digest)
    return enter(connection, card.name, card.version, _plain(card), digest=digest, now_ns=now_ns)


def require_same_bundle(connection: Connection, card: Card, digest: str) -> None:
    """Raise BundleReplaced if the ledger has answers of this version, but from another bundle.

    Of a version that was registered before schema 5, only the card is known. A model that is served
    elsewhere has none.
    """
    for row in map(
        _row,
        connection.execute(select(calibration).filter_by(model=card.name, version=card.version)),
    ):
        known = row.bundle_digest
        same = row.card_sha256 == card_sha256(card) if known is None else known == digest
        if not (same or row.is_logged):
            raise BundleReplaced(card.name, card.version, digest=digest, known=known)


def enter(
    connection: Connection,
    model: str,
    version: int,
    card: str,
    *,
    digest: str | None = None,
    now_ns: int,
) -> CalibrationRow:
    """Return the row of a card's JSON, as `register` does."""
    new = {
        "model": model,
        "version": version,
        "card_sha256": sha256_of(card),
        "card": card,
        "bundle_digest": digest,
    }
    entered = dialect_of(connection).insert(calibration).values(new | {"registered_at_ns": now_ns})
    again = {"registered_at_ns": now_ns} | ({"bundle_digest": digest} if digest else {})
    entered = entered.on_conflict_do_update(
        index_elements=["model", "version", "card_sha256"], set_=again
    )
    known = connection.scalar(entered.returning(calibration.c.calibration_id))
    (row,) = load(connection, [known])
    return row


def note_promotion(connection: Connection, calibration_id: int, *, now_ns: int) -> None:
    """Record that this calibration is now in production, unless the model's last promotion says so
    already.
    """
    lock(connection, Lock.PROMOTIONS)
    (row,) = load(connection, [calibration_id])
    of_this_model = select(calibration.c.calibration_id).where(calibration.c.model == row.model)
    noted = select(monitor_event.c.calibration_id).where(
        monitor_event.c.kind == PROMOTED, monitor_event.c.calibration_id.in_(of_this_model)
    )
    if (
        connection.scalar(noted.order_by(monitor_event.c.event_id.desc()).limit(1))
        == calibration_id
    ):
        return
    stands_at = select(monitor_state.c.last_feedback_id).filter_by(
        calibration_id=calibration_id, slice=""
    )
    values = {"calibration_id": calibration_id, "feedback_id": connection.scalar(stands_at) or 0}
    values |= {"kind": PROMOTED, "at_ns": now_ns, "detail": json.dumps({"version": row.version})}
    connection.execute(insert(monitor_event).values(values))


def promoted_version(connection: Connection, model: str) -> int | None:
    """Return the version that a server last recorded as the model's production, or None."""
    if "\0" in model:  # which PostgreSQL refuses to compare
        return None
    wanted = select(calibration.c.version).join(
        monitor_event, monitor_event.c.calibration_id == calibration.c.calibration_id
    )
    noted = wanted.where(calibration.c.model == model, monitor_event.c.kind == PROMOTED)
    return connection.scalar(noted.order_by(monitor_event.c.event_id.desc()).limit(1))


def load(connection: Connection, calibration_ids: Sequence[int]) -> list[CalibrationRow]:
    """Return the rows of these ids, in the order of their ids."""
    wanted = select(calibration).where(calibration.c.calibration_id.in_(calibration_ids))
    return [_row(row) for row in connection.execute(wanted.order_by(calibration.c.calibration_id))]


def of_model(connection: Connection, model: str) -> list[CalibrationRow]:
    """Return every calibration of a model, the most recently registered first; none for an unknown
    model.
    """
    if "\0" in model:  # which PostgreSQL refuses to compare
        return []
    newest_first = (calibration.c.registered_at_ns.desc(), calibration.c.calibration_id.desc())
    wanted = select(calibration).where(calibration.c.model == model).order_by(*newest_first)
    return [_row(row) for row in connection.execute(wanted)]


def of_card(
    connection: Connection, model: str, version: int, card_sha256: str
) -> CalibrationRow | None:
    """Return the calibration of this card, None if the ledger does not know it."""
    wanted = select(calibration).filter_by(model=model, version=version, card_sha256=card_sha256)
    row = connection.execute(wanted).one_or_none()
    return None if row is None else _row(row)


def choose(connection: Connection, model: str, version: int | None = None) -> CalibrationRow:
    """Return a model's calibration of this version, by default the newest. Raises
    ModelNotInLedger.
    """
    rows = of_model(connection, model)
    for row in rows:
        if version is None or row.version == version:
            return row
    known = [f"version {number}" for number in sorted({row.version for row in rows})] or models(
        connection
    )
    raise ModelNotInLedger(model, version, known=known)


def models(connection: Connection) -> list[str]:
    """Return the names of all models in the ledger, sorted."""
    return list(
        connection.scalars(select(calibration.c.model).distinct().order_by(calibration.c.model))
    )


def _plain(card: Card) -> str:
    return json.dumps(card.model_dump(mode="json"), sort_keys=True)


def _row(row: Row[Any]) -> CalibrationRow:
    fields = row._asdict()
    return CalibrationRow(**(fields | {"card": json.loads(fields["card"])}))
