"""The precisions of a bundle as a table: calibration, and what each costs, on the card's
reference.
"""

from rich.table import Table

from candor.terminal.tables import figure, table
from model_store.bundle.card import Card

_COLUMNS = (
    "precision",
    "accuracy",
    "ECE",
    "temperature",
    "same class as float32",
    "largest difference",
)


def variant_table(card: Card) -> Table:
    """Show what each precision of `card` was measured to be."""
    rows = [["float32", *_measured(card), "", ""]]
    for each in card.variants or ():
        measured = _measured(card.of_variant(each.precision))
        rows.append(
            [each.precision, *measured, f"{each.agreement:.2%}", figure(each.max_difference)]
        )
    return table(
        f"Precisions, on the {card.calibration.reference_split} split",
        _COLUMNS,
        rows,
        text=("precision",),
    )


def _measured(card: Card) -> list[str]:
    measures = card.calibration.measures
    return [
        figure(measures.get("accuracy"), 4),
        figure(measures.get("ece"), 4),
        figure(card.calibration.temperature),
    ]
