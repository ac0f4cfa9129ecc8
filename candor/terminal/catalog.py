"""The table of `candor models`."""

from collections.abc import Sequence

from rich.table import Table

from candor.terminal.tables import figure, table
from model_store.store.catalog import CatalogEntry

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
)


def catalog_table(entries: Sequence[CatalogEntry]) -> Table:
    """Return one row per version, with the aliases that point at it."""
    rows = [
        [
            entry.name,
            str(entry.version),
            ", ".join(entry.aliases),
            entry.loss or "-",
            figure(entry.temperature),
            figure(entry.ece),
            figure(entry.noise_floor),
            figure(entry.accuracy),
            entry.problem or entry.reference or "-",
        ]
        for entry in entries
    ]
    return table("Models", COLUMNS, rows, text=("aliases", "measured on"))
