"""The versions in the ledger: the model, version and card that gave an answer.

A version with findings has one watched version for each of them, with the card of that question. A
version whose card changes is another watched version. Metrics show those whose labels may still
arrive: a server loaded the version, or it answered, in the last 90 days. A version that was only
declared, for a model served elsewhere, has no series and no report in overviews until it answers.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, not_, or_, select

from calibration.findings.labels import spelled
from model_store.bundle.card import Card
from monitoring.errors import BundleReplaced, FindingNeeded, FindingUnknown, ModelNotInLedger
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day, bin_total, watched_versions
from monitoring.ledger.watched_version import LOGGED, WatchedVersion, watched_version


def card_sha256(card: Card) -> str:
    """Return the hash that identifies a card in the ledger."""
    return sha256_of(_plain(card))


def sha256_of(card: str) -> str:
    return hashlib.sha256(card.encode()).hexdigest()


def register(
    connection: Connection, card: Card, *, digest: str | None = None, now_ns: int
) -> list[WatchedVersion]:
    """Return the rows of a card's questions, inserted if they are new. They become the model's most
    recently registered ones.

    Args:
        digest: of the bundle. Raises BundleReplaced if the ledger knows the version from another
            bundle.
    """
    if digest is not None:
        require_same_bundle(connection, card, digest)
    texts = {each.finding or "": _plain(each) for each in card.questions}
    return enter(connection, card.name, card.version, texts, digest=digest, now_ns=now_ns)


def require_same_bundle(connection: Connection, card: Card, digest: str) -> None:
    """Raise BundleReplaced if the ledger has answers of this version, but from another bundle.

    Of a version that was registered without a digest, the cards are compared.
    """
    same_version = select(watched_versions).filter_by(model=card.name, version=card.version)
    cards = set(map(card_sha256, card.questions))
    for row in map(watched_version, connection.execute(same_version)):
        known = row.bundle_digest
        same = row.card_sha256 in cards if known is None else known == digest
        if not (same or row.is_logged):
            raise BundleReplaced(card.name, card.version, digest=digest, known=known)


def enter(
    connection: Connection,
    model: str,
    version: int,
    cards: Mapping[str, str],
    *,
    digest: str | None = None,
    now_ns: int,
) -> list[WatchedVersion]:
    """Return the rows of cards as JSON, by finding, as `register` does."""
    same = {"model": model, "version": version, "bundle_digest": digest}
    rows = [
        same | {"finding": finding, "card_sha256": sha256_of(card), "card": card}
        for finding, card in cards.items()
    ]
    again = {"registered_at_ns": now_ns} | ({"bundle_digest": digest} if digest else {})
    known = []
    for row in rows:
        insert = dialect_of(connection).insert(watched_versions)
        entered = insert.values(row | {"registered_at_ns": now_ns}).on_conflict_do_update(
            index_elements=["model", "version", "card_sha256"], set_=again
        )
        known.append(connection.scalar(entered.returning(watched_versions.c.watched_version_id)))
    return load(connection, known)


def load(connection: Connection, watched_version_ids: Sequence[int]) -> list[WatchedVersion]:
    """Return the rows of these ids, in the order of their ids."""
    wanted = select(watched_versions).where(
        watched_versions.c.watched_version_id.in_(watched_version_ids)
    )
    return [
        watched_version(row)
        for row in connection.execute(wanted.order_by(watched_versions.c.watched_version_id))
    ]


def load_all(connection: Connection) -> dict[int, WatchedVersion]:
    rows = map(watched_version, connection.execute(select(watched_versions)))
    return {row.watched_version_id: row for row in rows}


def of_model(
    connection: Connection, model: str, *, finding: str | None = None
) -> list[WatchedVersion]:
    """Return every version of a model, or of one finding, the most recently registered first."""
    if "\0" in model:  # which PostgreSQL refuses to compare
        return []
    newest_first = (
        watched_versions.c.registered_at_ns.desc(),
        watched_versions.c.watched_version_id.desc(),
    )
    wanted = (
        select(watched_versions).where(watched_versions.c.model == model).order_by(*newest_first)
    )
    if finding is not None:
        wanted = wanted.where(watched_versions.c.finding == finding)
    return [watched_version(row) for row in connection.execute(wanted)]


def of_finding(connection: Connection, model: str, finding: str | None) -> list[WatchedVersion]:
    """Return the same of a finding as a person spells it, or of all."""
    rows = of_model(connection, model)
    meant = finding and spelled(finding, [row.finding for row in rows])
    return [row for row in rows if meant in (None, row.finding)]


def count_findings(connection: Connection, row: WatchedVersion) -> int:
    columns = watched_versions.c
    count = select(func.count(columns.finding.distinct()))
    wanted = count.where(columns.model == row.model, columns.version == row.version)
    return connection.scalar(wanted.where(columns.finding != "")) or 0


def of_card(
    connection: Connection, model: str, version: int, card_sha256: str
) -> WatchedVersion | None:
    """Return the version of this card, None if the ledger does not know it."""
    wanted = select(watched_versions).filter_by(
        model=model, version=version, card_sha256=card_sha256
    )
    row = connection.execute(wanted).one_or_none()
    return None if row is None else watched_version(row)


def family(connection: Connection, model: str, version: int | None = None) -> list[WatchedVersion]:
    """Return the rows of this version of a model, by default of the newest: one, or one for each
    finding. Raises ModelNotInLedger.
    """
    rows = of_model(connection, model)
    newest = next((row for row in rows if version in (None, row.version)), None)
    if newest is None:
        known = [f"version {number}" for number in sorted({row.version for row in rows})]
        raise ModelNotInLedger(model, version, known=known or models(connection))
    first: dict[str, WatchedVersion] = {}
    for row in rows:
        if row.version == newest.version:
            first.setdefault(row.finding, row)
    return sorted(first.values(), key=lambda row: row.watched_version_id)


def choose(
    connection: Connection, model: str, version: int | None = None, finding: str | None = None
) -> WatchedVersion:
    """Return this version of a model, by default the newest, or one finding of it.

    Raises ModelNotInLedger, FindingUnknown, and FindingNeeded if it has findings and none is named.
    """
    rows = {row.finding: row for row in family(connection, model, version)}
    wanted = require_known(finding, [*filter(None, rows)])
    if wanted not in rows:
        raise FindingNeeded(model, [*rows])
    return rows[wanted]


def require_known(finding: str | None, findings: Sequence[str]) -> str:
    """Return the name as the model spells it. Raises FindingUnknown for one that it has not."""
    known = spelled(finding or "", findings)
    if finding and known not in findings:
        raise FindingUnknown(finding, findings)
    return known


def choose_first(
    connection: Connection, model: str, version: int | None, finding: str | None
) -> tuple[WatchedVersion, list[str]]:
    """Return what `choose` does, by default the first finding, and the names of all findings."""
    findings = [row.finding for row in family(connection, model, version) if row.finding]
    return choose(connection, model, version, finding or next(iter(findings), None)), findings


def of_images(connection: Connection, row: WatchedVersion) -> WatchedVersion:
    """Return the row whose answers are the images: that of the version's first finding, if any."""
    return family(connection, row.model, row.version)[0] if row.finding else row


def models(connection: Connection) -> list[str]:
    return list(
        connection.scalars(
            select(watched_versions.c.model).distinct().order_by(watched_versions.c.model)
        )
    )


def idle_models(connection: Connection) -> list[str]:
    """Return the models that were declared, but have neither been loaded nor answered."""
    answered = exists().where(
        bin_total.c.watched_version_id == watched_versions.c.watched_version_id,
        bin_total.c.slice == EVERYTHING,
        bin_total.c.served > 0,
    )
    used = select(watched_versions.c.model).where(or_(not_(is_declared()), answered))
    in_use = set(connection.scalars(used))
    return [model for model in models(connection) if model not in in_use]


def is_declared() -> ColumnElement[bool]:
    """Return the condition: the version is of a model that is served elsewhere."""
    return watched_versions.c.card.like(f'%"origin": "{LOGGED}"%')


def _plain(card: Card) -> str:
    return json.dumps(card.model_dump(mode="json"), sort_keys=True)


VISIBLE_NS = 90 * DAY_NS
# These bound the number of series.
VISIBLE_VERSIONS = 20  # per model; findings count like versions
FINDINGS_SHOWN = 200  # of a version
_WHOLE = 2  # versions of which all these findings are shown: production and its canary


class VisibleVersion(NamedTuple):
    """A version, or a finding of it, without its card."""

    watched_version_id: int
    model: str
    version: str
    finding: str


def visible_versions(connection: Connection, *, now_ns: int) -> list[VisibleVersion]:
    """Return each model's last registered versions, oldest first, each with its last card."""
    columns = watched_versions.c
    wanted = select(columns.watched_version_id, columns.model, columns.version, columns.finding)
    newest_first = wanted.where(visible(now_ns)).order_by(
        columns.registered_at_ns.desc(), columns.watched_version_id.desc()
    )
    found: dict[str, dict[tuple[str, str], VisibleVersion]] = {}
    for watched_version_id, model, version, finding in connection.execute(newest_first):
        row = VisibleVersion(watched_version_id, model, str(version), finding)
        found.setdefault(model, {}).setdefault((row.version, finding), row)
    return [
        found[model][key]
        for model in sorted(found)
        for key in reversed(within_bound(list(found[model])))
    ]


def within_bound(newest_first: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those of a model's (version, finding) that metrics show, in the same order."""
    kept: list[tuple[str, str]] = []
    of_version: Counter[str] = Counter()
    for version, finding in newest_first:
        of_version[version] += 1
        is_whole = bool(finding) and version in list(of_version)[:_WHOLE]
        room = is_whole or len(kept) < VISIBLE_VERSIONS
        if room and of_version[version] <= FINDINGS_SHOWN:
            kept.append((version, finding))
    return kept


def visible(now_ns: int) -> ColumnElement[bool]:
    """Return the condition: loaded, or answering, within `VISIBLE_NS` before now."""
    since_ns = now_ns - VISIBLE_NS
    loaded = and_(watched_versions.c.registered_at_ns >= since_ns, not_(is_declared()))
    return or_(loaded, _answering_since(since_ns))


def versions_since(connection: Connection, model: str, since_ns: int) -> set[int]:
    """Return the versions of a model that were registered, or have answered, since a time."""
    wanted = select(watched_versions.c.version).where(
        watched_versions.c.model == model, in_use_since(since_ns)
    )
    return set(connection.scalars(wanted))


def in_use_since(since_ns: int) -> ColumnElement[bool]:
    """Return the condition: registered, or answering, since a time; days count whole."""
    return or_(watched_versions.c.registered_at_ns >= since_ns, _answering_since(since_ns))


def _answering_since(since_ns: int) -> ColumnElement[bool]:
    columns = bin_day.c
    return exists().where(
        columns.watched_version_id == watched_versions.c.watched_version_id,
        columns.slice == EVERYTHING,
        columns.day >= since_ns // DAY_NS,
        columns.served > 0,
    )
