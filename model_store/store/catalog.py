"""What a store holds. Only cards are verified here; `verification.verify` does the rest."""

from dataclasses import dataclass, replace
from datetime import datetime

from model_store.bundle.bundle import CARD_FILE, parse_card
from model_store.bundle.card import Card
from model_store.bundle.comparison import CardComparison, compare_cards
from model_store.bundle.manifest import read_file, read_manifest
from model_store.errors import BundleError, HistoryError, ModelStoreError
from model_store.store.state import PRODUCTION
from model_store.store.store import Store


@dataclass(frozen=True)
class CatalogEntry:
    """One version of one model. Without a readable card only `problem` says why.

    `against_production`: its card minus that of the version in production; None of that version
    itself, and where other images measured the cards.
    """

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
    against_production: CardComparison | None = None
    problem: str | None = None


def catalog(store: Store) -> list[CatalogEntry]:
    """Return an entry per version in the store, sorted by name and version."""
    return [entry for name in store.models() for entry in catalog_of(store, name)]


def catalog_of(store: Store, name: str) -> list[CatalogEntry]:
    """Return an entry per version of one model, sorted by version."""
    try:
        aliases = {alias: each.version for alias, each in store.aliases(name).items()}
    except HistoryError as error:
        broken = str(error)
        return [CatalogEntry(name, each, False, problem=broken) for each in store.versions(name)]
    cards = {version: _card_or_problem(store, name, version) for version in store.versions(name)}
    production = aliases.get(PRODUCTION)
    entries = []
    for version, card in cards.items():
        own = tuple(alias for alias, of in aliases.items() if of == version)
        entry = CatalogEntry(name, version, version == production, own)
        base = None if production in (None, version) else cards.get(production)
        entries.append(_filled(entry, card, base if isinstance(base, Card) else None))
    return entries


def _filled(entry: CatalogEntry, card: Card | str, production: Card | None) -> CatalogEntry:
    if isinstance(card, str):
        return replace(entry, problem=card)
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
        against_production=None if production is None else compare_cards(production, card),
    )


def _card_or_problem(store: Store, name: str, version: int) -> Card | str:
    """The card, or why it cannot be read."""
    try:
        return _card(store, name, version)
    except ModelStoreError as error:
        return error.reason if isinstance(error, BundleError) else str(error)


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
