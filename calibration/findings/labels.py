"""Labels of findings in tables: a column for each, or lists such as `Edema|Mass`.

A blank is a missing label, never a negative one. A list says what is there; what is absent follows
only with the findings that were looked for.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal
from unicodedata import normalize

import numpy as np

from calibration.bins import FloatArray

UNCERTAIN: Final = -1.0  # the reader could not tell, as in CheXpert
SEPARATOR: Final = "|"
ALL: Final = "*"  # looked for: every finding that the table names
LOOKED_FOR: Final = "looked_for"  # the column of what was looked for in each image
NOTHING: Final = ("no finding", "no findings")  # an entry of a list, as in NIH's table
UncertainAs = Literal["missing", "present", "absent"]
MISSING: Final = ("", "nan", "na", "n/a", "<na>", "#n/a", "null")
_WORDS: Final[dict[str, float]] = {
    **dict.fromkeys((*MISSING, "none"), math.nan),
    **dict.fromkeys(("true", "present", "yes", "positive"), 1.0),
    **dict.fromkeys(("false", "absent", "no", "negative"), 0.0),
    **dict.fromkeys(("uncertain",), UNCERTAIN),
}


def is_missing(text: str) -> bool:
    """Whether a cell says nothing, in any column; a class may be called "none", a finding not.

    >>> [is_missing(text) for text in ("", " n/a", "none", "0")]
    [True, True, False, False]
    """
    return text.strip().casefold() in MISSING


def spelled(name: str, known: Iterable[str]) -> str:
    """Return the one of `known` names that differs in the form of accents alone, else `name`.

    >>> spelled("Oede\u0301me", ["Mass", "Oed\u00e9me"]) == "Oed\u00e9me"
    True
    """
    if name.isascii() or name in known:
        return name
    composed = normalize("NFC", name)
    return next((each for each in known if normalize("NFC", each) == composed), name)


def read_cell(text: str) -> float | None:
    """Return 1, 0, `UNCERTAIN`, or NaN for a blank; None for anything else.

    This is the vocabulary of label cells for `train`, `import` and `calibrate`.

    >>> [read_cell(text) for text in ("1", "0.0", "-1.0", "", "present", "negative", "7")]
    [1.0, 0.0, -1.0, nan, 1.0, 0.0, None]
    """
    plain = text.strip().lower()
    if plain in _WORDS:
        return _WORDS[plain]
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if value in (0.0, 1.0, UNCERTAIN) else None


def finding_columns(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns that hold 1, 0, -1 and blanks alone, and a 0 at least: without one, as
    CheXpert's "No Finding", a column does not tell absent from unknown.

    >>> finding_columns({"age": ["61", "7"], "Edema": ["1", "0"], "No Finding": ["1", ""]})
    ['Edema']
    """
    found = []
    for name, cells in columns.items():
        distinct = {read_cell(text) for text in set(cells)}
        if None not in distinct and 0.0 in distinct:
            found.append(name)
    return found


def are_lists(cells: Sequence[str]) -> bool:
    """Whether labels (N,) are lists of findings rather than classes: one has a `|` in it.

    >>> are_lists(["Edema", "Edema|Mass", "No Finding"]), are_lists(["cat", "dog"])
    (True, False)
    """
    return any(SEPARATOR in text for text in cells)


@dataclass(frozen=True)
class FindingLabels:
    """Labels (N, K) of the findings `names`: 1, 0, `UNCERTAIN`, or NaN for unknown."""

    names: tuple[str, ...]
    labels: FloatArray

    @property
    def exclusive(self) -> bool:
        """Whether each image has exactly one 1 and otherwise 0: a class written as one-hot."""
        return (
            len(self.names) > 1
            and bool(np.isin(self.labels, (0, 1)).all())
            and bool((self.labels.sum(axis=1) == 1).all())
        )

    def known_as(self, uncertain: UncertainAs) -> FloatArray:
        """Return the labels (N, K) as 1, 0 or NaN, with `UNCERTAIN` taken for one of them."""
        value = {"missing": math.nan, "present": 1.0, "absent": 0.0}[uncertain]
        return np.where(self.labels == UNCERTAIN, value, self.labels)


def from_columns(columns: Mapping[str, Sequence[str]]) -> FindingLabels:
    """Read a column for each finding, all of N cells. Raises ValueError for another cell."""
    read: dict[str, list[float]] = {}
    for name, cells in columns.items():
        values = [read_cell(text) for text in cells]
        if None in values:
            raise ValueError(
                f"the column {name!r} has {cells[values.index(None)]!r}; a finding is 1, 0, -1 "
                "(uncertain) or blank (unknown)"
            )
        read[name] = [value for value in values if value is not None]
    return FindingLabels(tuple(read), np.array(list(read.values()), dtype=np.float64).T)


def from_lists(
    cells: Sequence[str], looked_for: Sequence[str] | str, names: Sequence[str] | None = None
) -> FindingLabels:
    """Read lists (N,) such as `Edema|Mass`; "No Finding" is empty, and so is a blank one
    where its own row says what was looked for; else a blank list is unknown.

    Args:
        cells: the lists.
        looked_for: the findings that were looked for, as a list or "*" for all names: in all
            images, or (N,) one for each.
        names: the findings to read, in order; by default all that are named anywhere, sorted.

    Raises ValueError: a list has a finding that was not looked for, a slip for one of the names, or
    other separators than `|`.

    >>> from_lists(["Edema|Mass", "No Finding", ""], "*")
    FindingLabels(names=('Edema', 'Mass'), labels=array([[ 1.,  1.], [ 0.,  0.], [nan, nan]]))
    """
    given = [_entries(text) for text in cells]
    sought = [looked_for] * len(given) if isinstance(looked_for, str) else list(looked_for)
    everything = {name for text in (*set(cells), *set(sought)) for name in _entries(text)}
    chosen = tuple(sorted(everything - {ALL}) if names is None else names)
    plain = [normalize("NFC", name) for name in chosen]  # as the entries of lists
    labels = np.full((len(given), len(chosen)), math.nan)
    for row, (text, there) in enumerate(zip(cells, given, strict=True)):
        wanted = _entries(sought[row])
        _require_known(there, chosen)
        outside = [] if ALL in wanted else [name for name in there if name not in wanted]
        if outside:
            raise ValueError(
                f"{text!r} has {outside[0]!r}, which is not among the findings looked for "
                f"({sought[row] or 'none'})"
            )
        if text.strip() or (wanted and not isinstance(looked_for, str)):
            known = [ALL in wanted or name in wanted for name in plain]
            labels[row, known] = 0.0
            labels[row, [name in there for name in plain]] = 1.0
    return FindingLabels(chosen, labels)


def _require_known(entries: Sequence[str], names: Sequence[str]) -> None:
    """Refuse what would count as absent though it is written otherwise than the names."""
    for entry in (each for each in entries if each not in names):
        if any(part.strip() in names for part in re.split("[;,/+&]", entry)):
            raise ValueError(f"{entry!r} holds several findings: separate them with {SEPARATOR}")
        if near := get_close_matches(entry, names, 1, cutoff=0.85):
            raise ValueError(f"is {entry!r} a slip for {near[0]!r}? Then correct it in the table")


def _entries(text: str) -> list[str]:
    parts = (normalize("NFC", part.strip()) for part in text.split(SEPARATOR))
    return [part for part in parts if part and part.lower() not in NOTHING]
