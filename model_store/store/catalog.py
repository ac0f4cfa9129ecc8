"""What a store holds. Only cards are verified here; `verification.verify` does the rest."""

from dataclasses import dataclass, replace
from datetime import datetime

from model_store.bundle.bundle import CARD_FILE, parse_card
from model_store.bundle.card import Card
from model_store.bundle.manifest import read_file, read_manifest
from model_store.errors import BundleError, ModelStoreError
from model_store.store.alias import PRODUCTION
from model_store.store.store import Store


@dataclass(frozen=True)
class CatalogEntry:
    """One version of one model. Without a readable card only `problem` says why."""

    name: str
    version: int
    production: bool
    aliases: tuple[str, ...] = ()
    created_at: str | None = None
    dataset: str | None = None
    loss: str | None = None
    temperature: float | None = None
    reference: str | None = None
    accuracy: float | None = None
    ece: float | None = None
    noise_floor: float | None = None
    problem: str | None = None


def catalog(store: Store) -> list[CatalogEntry]:
    """Return an entry per version in the store, sorted by name and version."""
    return [entry for name in store.models() for entry in catalog_of(store, name)]


def catalog_of(store: Store, name: str) -> list[CatalogEntry]:
    """Return an entry per version of one model, sorted by version."""
    return [_entry(store, name, version) for version in store.versions(name)]


def _entry(store: Store, name: str, version: int) -> CatalogEntry:
    aliases = tuple(alias for alias, each in store.aliases(name).items() if each.version == version)
    entry = CatalogEntry(name, version, PRODUCTION in aliases, aliases)
    try:
        card = _card(store, name, version)
    except ModelStoreError as error:
        reason = error.reason if isinstance(error, BundleError) else str(error)
        return replace(entry, problem=reason)
    figures = card.calibration.measures
    return replace(
        entry,
        created_at=card.provenance.created_at.isoformat(timespec="seconds"),
        dataset=card.provenance.dataset,
        loss=card.provenance.loss,
        temperature=card.temperature,
        reference=card.calibration.reference_split,
        accuracy=card.accuracy,
        ece=figures.get("ece"),
        noise_floor=figures.get("noise_floor"),
    )


def _card(store: Store, name: str, version: int) -> Card:
    """Return the card, verified against the manifest, but not the model. Raises ModelStoreError."""
    folder = store.require(name, version)
    return parse_card(folder, read_file(folder, read_manifest(folder), CARD_FILE))


def published_at(store: Store, name: str, version: int) -> datetime | None:
    """Return when a version was made, as its card says; None if that cannot be read."""
    try:
        return _card(store, name, version).provenance.created_at
    except ModelStoreError:
        return None
