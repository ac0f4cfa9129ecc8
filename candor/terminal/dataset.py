"""What `candor data check` prints about a data set."""

from collections.abc import Mapping
from typing import Any

from calibration.document import FigureTable, Items, Part
from calibration.wording import counted

KINDS = {"classes": "class", "findings": "images with the finding"}
EXCLUDED_SHOWN = 20  # left-out files listed by name


def data_tables(found: Mapping[str, Any]) -> list[Part]:
    """Return images by class and split, defects and notes, of what `describe` returns."""
    splits = found["counts"]
    rows = [
        [name, *(str(counts[label]) for counts in splits.values())]
        for label, name in enumerate(found["classes"])
    ]
    rows.append(["all", *(str(count) for count in found["images"].values())])
    if any(found["groups"].values()):
        rows.append(
            ["patients or groups", *(str(count or "-") for count in found["groups"].values())]
        )
    rows.append(["duplicates", *(str(found["duplicates"][name]) for name in splits)])
    color = "gray" if found["channels"] == 1 else "color"
    title = (
        f"{found['name']} (layout {found['layout']}): {color}, typically {found['size']} pixels on "
        "the longer side"
    )
    parts: list[Part] = [FigureTable(title, (KINDS[found["kind"]], *splits), rows)]
    if excluded := [f"{each['path']}: {each['reason']}" for each in found["excluded"]]:
        hidden = len(excluded) - EXCLUDED_SHOWN
        more = [f"and {hidden} more"] if hidden > 0 else []
        title = f"Left out, {counted(len(excluded), 'file')}"
        parts.append(Items([*excluded[:EXCLUDED_SHOWN], *more], title))
    return [*parts, *(f"Note: {note}." for note in found["notes"])]
