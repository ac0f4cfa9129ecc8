"""A list of what a store holds. It reads the cards and hashes no files: it is a list, not a check."""

from dataclasses import dataclass

from pydantic import ValidationError

from model_store.bundle import CARD_FILE
from model_store.card import Card
from model_store.store import Store


@dataclass(frozen=True)
class CatalogEntry:
    """One version of one model. If its card cannot be read, the figures are None and `problem` says why."""

    name: str
    version: int
    production: bool
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
    return [_entry(store, name, version) for name in store.models() for version in store.versions(name)]


def _entry(store: Store, name: str, version: int) -> CatalogEntry:
    production = store.production(name) == version
    try:
        card = Card.model_validate_json((store.folder(name, version) / CARD_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        return CatalogEntry(name, version, production, problem=f"card.json cannot be read: {reason}")
    measures = card.calibration.measures
    return CatalogEntry(
        name,
        version,
        production,
        created_at=card.provenance.created_at.isoformat(timespec="seconds"),
        dataset=card.provenance.dataset,
        loss=card.provenance.loss,
        temperature=card.calibration.temperature,
        reference=card.calibration.reference_split,
        accuracy=measures.get("accuracy"),
        ece=measures.get("ece"),
        noise_floor=measures.get("noise_floor"),
    )
