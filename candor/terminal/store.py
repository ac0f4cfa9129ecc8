"""What `candor models` prints: lists, a version, its history, differences, findings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calibration.document import FactList, FigureTable, Heading, Part
from calibration.figures import figure
from calibration.wording import percent
from model_store.bundle.bundle import Bundle
from model_store.bundle.comparison import BundleDifference
from model_store.bundle.manifest import FileEntry
from model_store.bundle.model_card import card_document
from model_store.store.catalog import CatalogEntry
from model_store.store.event import StoreEvent
from model_store.store.state import Alias, Canary
from model_store.store.verification import Finding

COLUMNS = (
    "model",
    "version",
    "aliases",
    "loss",
    "temperature",
    "ECE",
    "floor",
    "accuracy",
    "measured on",
    "against production",
)


def catalog_table(
    entries: Sequence[CatalogEntry], canaries: Mapping[str, Canary | None]
) -> FigureTable:
    """Return one row per version, with the aliases that point at it, and what is a canary."""
    rows = [
        [
            entry.name,
            str(entry.version),
            ", ".join((*entry.aliases, *_tried(canaries.get(entry.name), entry.version))),
            entry.loss or "-",
            figure(entry.temperature),
            percent(entry.ece),
            percent(entry.noise_floor),
            percent(entry.accuracy),
            entry.problem or entry.reference or "-",
            _against_production(entry),
        ]
        for entry in entries
    ]
    return FigureTable(
        "Models", COLUMNS, rows, text=("aliases", "measured on", "against production")
    )


def _against_production(entry: CatalogEntry) -> str:
    """By how much the card is more accurate, or of findings its ECE higher, on the same images."""
    found = entry.against_production
    if found is None:
        return "-" if entry.production else "not compared: other images"
    if found.accuracy is None:
        return f"ECE {found.ece.in_points}"
    return f"accuracy {found.accuracy.in_points}"


def _tried(canary: Canary | None, version: int) -> list[str]:
    """The share, or else the mode, of a version that is the canary."""
    if canary is None or canary.version != version:
        return []
    return [f"canary ({f'{100 * canary.share:g} %' if canary.mode == 'share' else canary.mode})"]


LONGEST = 60  # characters of a value in a table of differences


def bundle_parts(
    bundle: Bundle,
    *,
    files: Mapping[str, FileEntry],
    aliases: Mapping[str, Alias],
    events: Sequence[StoreEvent],
) -> Iterator[Part]:
    """Yield the model card, and what the store knows of the version."""
    yield from card_document(bundle.card)
    yield Heading("In the store")
    yield FactList([("digest", bundle.digest), ("aliases", ", ".join(aliases) or "none")])
    sizes = [[name, f"{each.size_bytes:,}", each.sha256] for name, each in files.items()]
    yield FigureTable("Files", ("", "bytes", "sha256"), sizes)
    if events:
        yield history_table(events)


def history_table(events: Sequence[StoreEvent]) -> FigureTable:
    """Return a row per event, oldest first."""
    rows = [
        [f"{each.at:%Y-%m-%d %H:%M:%S}", each.by, _said(each), each.why or ""] for each in events
    ]
    return FigureTable("History", ("when", "who", "what", "why"), rows, text=("who", "what", "why"))


def difference_table(first: str, second: str, found: Sequence[BundleDifference]) -> FigureTable:
    """Return a row per field that differs."""
    rows = [[each.field, _short(each.first), _short(each.second)] for each in found]
    return FigureTable("Differences", ("field", first, second), rows, text=(first, second))


def _said(event: StoreEvent) -> str:
    of = f" version {event.version}" if event.version is not None else ""
    before = f", before {event.before}" if event.before is not None else ""
    if event.alias is None:
        return f"{event.action}{of}"
    return f"'{event.alias}' {event.action}{f' to{of}' if of else ''}{before}"


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def finding_line(finding: Finding) -> str:
    """Return what was found out about a version, or about another thing in the store."""
    kind = "" if finding.kind == "version" else f" {finding.kind}"
    said = (
        f"refused: {finding.problem}"
        if finding.problem
        else f"whole{f', {finding.digest}' if finding.digest else ''}"
    )
    return f"{finding.model}{kind} {finding.item}: {said}"
