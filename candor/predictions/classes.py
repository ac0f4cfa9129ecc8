"""Which class each column and each label is about. Columns keep their names.

What a table does not say, the order of classes that labels number, and what a single probability is
of, is refused with the option that says it; and so are scores that the labels contradict.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.findings.labels import is_missing, read_cell
from calibration.measures.ranking import auroc
from calibration.wording import parameter
from candor.predictions.columns import ClassColumn
from candor.predictions.errors import PredictionsRefused, rows_listed

_BELOW_CHANCE: Final = 0.4  # an AUROC; 0.5 is chance
_SURE: Final = 4.0  # standard errors of chance
_FEWEST: Final = 10  # rows with a class and without it, to tell


def column_classes(names: tuple[str, ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of columns that are about `names`.

    `given` names them in the order of the columns only if these are not called as the classes.
    Raises PredictionsRefused: another number of classes, or some of the columns' and others.

    >>> column_classes(("ill", "healthy"), ("healthy", "ill"))
    ('ill', 'healthy')
    >>> column_classes(("0", "1"), ("healthy", "ill"))
    ('healthy', 'ill')
    """
    if given is None or set(given) == set(names):
        return names
    if len(given) != len(names):
        raise PredictionsRefused(
            f"{parameter('classes')} names {len(given)} classes; there are {len(names)} columns of "
            "scores"
        )
    are_numbered = list(names) == [str(number) for number in range(len(names))]
    if not are_numbered and (kept := set(given) & set(names)):
        raise PredictionsRefused(
            f"the columns are about {', '.join(names[:8])}, and {parameter('classes')} names "
            f"{min(kept)!r} and others. Columns keep their names: name all of these, or rename the "
            "columns"
        )
    return given


def match_labels(
    labels: Sequence[str],
    classes: Sequence[str],
    rows: IntArray,
    *,
    given: Sequence[str] | None,
) -> tuple[IntArray, tuple[str, ...]]:
    """Return the class (N,) of each label, and notes.

    Args:
        labels: (N,) texts.
        classes: of the scores' columns, in order.
        rows: (N,) numbers in the file.
        given: the classes as the caller names them; labels may be numbers in this order.

    Raises PredictionsRefused for labels that are no class.
    """
    places = {name: place for place, name in enumerate(classes)}
    used = set(labels)
    unknown = sorted(used - set(places))
    notes: tuple[str, ...] = ()
    if unknown and all(_is_index(name, len(classes)) for name in used):
        if given is None:
            raise PredictionsRefused(
                f"labels are numbers, and the columns name the classes {', '.join(classes[:8])}: "
                f"which number is which class? Give {parameter('classes')} in the order of the "
                "numbers, from 0"
            )
        places = {str(number): places[name] for number, name in enumerate(given)}
        pairs = ", ".join(f"{number} is {name}" for number, name in enumerate(given[:4]))
        notes = (f"Labels are numbers, in the order of {parameter('classes')}: {pairs}.",)
    elif unknown:
        bad = rows[[label in unknown for label in labels]]
        shown = ", ".join(map(repr, unknown[:5]))
        raise PredictionsRefused(
            f"no column is about the label{'s' if len(unknown) > 1 else ''} {shown} "
            f"({rows_listed(bad, 3)}); the columns are about {', '.join(classes[:8])}. Correct "
            "slips in the file. If labels have other names than the columns, give "
            f"{parameter('classes')} with the names of the labels, in the order of the columns"
        )
    return np.array([places[label] for label in labels], np.int64), notes


def two_classes(
    labels: Sequence[str], column: ClassColumn, positive: str | None, *, is_its_label: bool
) -> tuple[str, str]:
    """Return the two classes of a single column, the one that it is of second.

    `is_its_label`: labels say whether it is the class that the column is called by. Raises
    PredictionsRefused: not two labels, or no sign of which one the column is about.

    >>> two_classes(["ill", "healthy"], ClassColumn("p_ill", "ill"), None, is_its_label=False)
    ('healthy', 'ill')
    >>> two_classes(["0", "1"], ClassColumn("prob", ""), None, is_its_label=False)
    ('0', '1')
    """
    names = sorted(set(labels))
    if len(names) > 2:
        raise PredictionsRefused(
            f"one column of probabilities needs labels of two classes; found {len(names)} "
            f"({', '.join(names[:6])}). With more classes, each needs a column, and each image one "
            f"row: name the columns with {parameter('scores')}"
        )
    wished = positive or (column.name if column.name in names else None)
    if wished in names:
        return next((name for name in names if name != wished), f"not {wished}"), str(wished)
    if positive is not None:
        raise PredictionsRefused(
            f"{parameter('positive', positive)}: no label is called that; labels are "
            f"{' and '.join(names)}"
        )
    marks = {read_cell(name): name for name in names}
    if set(marks) <= {0.0, 1.0} and (not column.name or is_its_label):
        return marks.get(0.0, "0"), marks.get(1.0, "1")
    shown = " or of ".join(map(repr, names))
    raise PredictionsRefused(
        f"is {column.column} the probability of {shown}? Labels do not say it: give "
        f"{parameter('positive', names[-1])}, or the one that it is of"
    )


def known_pair(
    known: tuple[str, ...], column: ClassColumn, positive: str | None
) -> tuple[str, str]:
    """Return a calibrator's two classes, the one that a single column is of second.

    Raises PredictionsRefused if the calibrator is not of two classes, or none is the column's.

    >>> known_pair(("normal", "ill"), ClassColumn("p_normal", "normal"), None)
    ('ill', 'normal')
    """
    if len(known) != 2:
        raise PredictionsRefused(
            f"the calibrator is for the classes {', '.join(known)}; there is a single column of "
            f"probabilities. Name a column for each, with {parameter('scores', 'a,b,c')}"
        )
    if positive is not None and positive not in known:
        raise PredictionsRefused(
            f"{parameter('positive', positive)}: the calibrator is for the classes {known[0]} and "
            f"{known[1]}"
        )
    return two_classes(known, column, positive, is_its_label=False)


def require_names(classes: Sequence[str]) -> None:
    """Refuse a class whose labels would be taken as missing ones."""
    for name in classes:
        if name and is_missing(name):
            raise PredictionsRefused(
                f"a class is called {name!r}, and so are missing labels: rename the class, in its "
                "column and in the labels"
            )


def require_sense(
    probabilities: FloatArray,
    labels: IntArray | FloatArray,
    classes: Sequence[str],
    groups: IntArray | None,
) -> None:
    """Refuse probabilities (N, K) that are far lower where labels name the class than elsewhere.

    Labels (N,) are places of classes, or (N, K) 1, 0 or NaN.
    """
    for place, name in enumerate(classes):
        y = labels == place if labels.ndim == 1 else labels[:, place]
        known = ~np.isnan(y.astype(float))
        p, present = probabilities[known, place], y[known] == 1
        positives, n = int(present.sum()), len(p)
        if min(positives, n - positives) < _FEWEST:
            continue
        area = auroc(p, present)
        units = n if groups is None else len(np.unique(groups[known]))
        error = np.sqrt((n + 1) / (12 * positives * (n - positives)) * n / units)
        if area < _BELOW_CHANCE and (area - 0.5) / error < -_SURE:
            raise PredictionsRefused(
                f"probabilities of {name!r} are lower where the label says {name!r} than elsewhere "
                f"(AUROC {area:.2f}; chance is 0.5), so columns and labels do not belong together. "
                f"Give {parameter('classes')} in the order of the numbers or columns, "
                f"{parameter('positive')} for a single column, or correct the names in the file"
            )


def _is_index(name: str, count: int) -> bool:
    return name.isascii() and name.isdecimal() and int(name) < count
