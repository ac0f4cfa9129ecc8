"""Which class each label names, and whether labels are truths at all."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import top_label
from candor.predictions.errors import PredictionsRefused, rows_listed

_NEGATIVE = {
    "0",
    "false",
    "no",
    "n",
    "negative",
    "neg",
    "normal",
    "healthy",
    "benign",
    "absent",
    "control",
}
_POSITIVE = {"1", "true", "yes", "y", "positive", "pos", "present"}
_NUMBER = re.compile(r"(?:class[ _.\-]*)?([-+]?\d+)(?:\.0)?", re.ASCII)


def match_labels(
    names: Sequence[str],
    codes: IntArray,
    classes: Sequence[str],
    rows: IntArray,
    *,
    are_given: bool,
) -> tuple[IntArray, tuple[str, ...]]:
    """Return the class (N,) of each label, and notes.

    Args:
        names: texts of labels; `codes` (N,) point at them.
        classes: names of the scores' columns, in order.
        rows: (N,) numbers in the file.
        are_given: whether the caller named the classes; else names that are numbers may stand for
            positions.

    Raises PredictionsRefused for labels that are no class, or numbers whose order of classes is not
    known.
    """
    used = sorted(set(codes.tolist()))
    exact = {name: place for place, name in enumerate(classes)}
    loose = {loose_name(name): place for place, name in enumerate(classes)}
    found = {code: exact.get(names[code], loose.get(loose_name(names[code]))) for code in used}
    notes: tuple[str, ...] = ()
    if None in found.values() and all(_is_index(names[code], len(classes)) for code in used):
        if not are_given and list(classes) != sorted(classes):
            raise PredictionsRefused(
                f"labels are numbers, and the columns name the classes {', '.join(classes[:8])}: "
                "which number is which class? Give --classes in the order of the numbers, from 0"
            )
        found = {code: int(names[code]) for code in used}
        pairs = ", ".join(f"{place} is {name}" for place, name in enumerate(classes[:4]))
        notes = (f"Labels are numbers; taken in the order of the columns: {pairs}.",)
    else:
        notes = _spelling(
            [(names[code], classes[at]) for code, at in found.items() if at is not None]
        )
    unknown = [code for code in used if found[code] is None]
    if unknown:
        _refuse_unknown(names, codes, classes, rows, unknown)
    table = np.full(max(used) + 1, -1)
    table[used] = [found[code] for code in used]
    return table[codes], notes


def known_names(
    names: Sequence[str], known: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that a calibrator's classes `known` give columns, and notes.

    >>> known_names(["Ill", "normal"], ("normal", "ill"))
    (('ill', 'normal'), ())
    >>> known_names(["0", "1"], ("normal", "ill"))[0]
    ('normal', 'ill')
    """
    if (
        len(names) == len(known)
        and list(names) == [str(place) for place in range(len(known))]
        and names != known
    ):
        pairs = ", ".join(f"{place} is {name}" for place, name in enumerate(known[:4]))
        return known, (
            f"Columns are numbered; taken in the order of the calibrator's classes: {pairs}.",
        )
    called = {loose_name(name): name for name in known}
    return tuple(
        name if name in known else called.get(loose_name(name), name) for name in names
    ), ()


def known_pair(
    known: tuple[str, ...], column_names: Sequence[str], positive: str | None
) -> tuple[str, str]:
    """Return a calibrator's two classes, the one that a single column is of second.

    Raises PredictionsRefused if the calibrator is not of two classes, or none is called `positive`.

    >>> known_pair(("normal", "ill"), ["score"], None)
    ('normal', 'ill')
    >>> known_pair(("normal", "ill"), ["p_normal", "normal"], None)
    ('ill', 'normal')
    """
    if len(known) != 2:
        raise PredictionsRefused(
            f"the calibrator is for the classes {', '.join(known)}; there is a single column of "
            "probabilities. Name a column for each, with --probabilities a,b,c"
        )
    first, second = known
    if positive is not None and loose_name(positive) not in (loose_name(first), loose_name(second)):
        raise PredictionsRefused(
            f"--positive {positive}: the calibrator is for the classes {first} and {second}"
        )
    said = [positive] if positive else column_names
    return (
        (second, first)
        if loose_name(first) in {loose_name(each) for each in said}
        else (first, second)
    )


def _spelling(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A note on labels that were taken as classes that are spelled otherwise."""
    differ = [f"{label!r} as {name}" for label, name in pairs if label != name]
    return (
        (f"Labels differ from the classes in case or marks only; taken: {', '.join(differ[:6])}.",)
        if differ
        else ()
    )


def positive_class(labels: Sequence[str], column_class: str, wish: str | None) -> tuple[str, str]:
    """Return the two classes of a single column, the one that it is of second.

    Raises PredictionsRefused: not two labels, or no sign of which one the column is about.

    >>> positive_class(["ill", "healthy"], "ill", None), positive_class(["0", "1"], "", None)
    (('healthy', 'ill'), ('0', '1'))
    """
    names = sorted(set(labels))
    if wish is None and set(names) <= {"0", "1"}:
        return ("0", "1")
    if len(names) != 2:
        raise PredictionsRefused(
            f"one column of probabilities needs labels of two classes; found {len(names)} "
            f"({', '.join(names[:6])}). With more classes, each needs a column, and "
            "each image one row: name the columns with --probabilities"
        )
    for named in (wish, column_class):
        chosen = [name for name in names if named and loose_name(name) == loose_name(named)]
        if chosen:
            return (names[1 - names.index(chosen[0])], chosen[0])
    if wish:
        raise PredictionsRefused(
            f"--positive {wish}: no label is called that; labels are {names[0]} and {names[1]}"
        )
    for second, first in (names, names[::-1]):
        if loose_name(first) in _NEGATIVE and loose_name(second) not in _NEGATIVE:
            return first, second
        if loose_name(second) in _POSITIVE and loose_name(first) not in {*_POSITIVE, "2"}:
            return first, second
    raise PredictionsRefused(
        f"is the column the probability of {names[0]!r} or of {names[1]!r}? Give --positive "
        f"{names[1]}"
    )


def suspicious_truths(
    probabilities: FloatArray, labels: IntArray, classes: Sequence[str]
) -> list[str]:
    """Return notes on labels that fit too well or too badly to be truths."""
    right = top_label(probabilities)[1] == labels
    if right.all():
        return ["Every answer is right. Make sure that the labels are truths and not predictions."]
    better = _better_order(probabilities, labels)
    if better is None:
        return []
    order, accuracy = better
    pairs = ", ".join(
        f"{name} -> {classes[order[k]]}" for k, name in enumerate(classes[:4]) if order[k] != k
    )
    return [
        f"Accuracy is {100 * right.mean():.1f} %. With the classes in another order ({pairs}) it "
        f"would be {100 * accuracy:.1f} %: check the order of columns and labels, and give "
        "--classes."
    ]


def _better_order(probabilities: FloatArray, labels: IntArray) -> tuple[list[int], float] | None:
    """An order of the classes with far more right answers, and their accuracy."""
    confusion = confusion_matrix(probabilities, labels)
    best = confusion.argmax(axis=0)  # the truth that each predicted class mostly stands for
    if len(set(best.tolist())) < len(best):
        return None
    accuracy = confusion[best, np.arange(len(best))].sum() / confusion.sum()
    if accuracy < confusion.trace() / confusion.sum() + 0.2 or confusion.sum() < 20:
        return None
    return best.tolist(), float(accuracy)


def _refuse_unknown(
    names: Sequence[str],
    codes: IntArray,
    classes: Sequence[str],
    rows: IntArray,
    unknown: Sequence[int],
) -> None:
    shown = ", ".join(repr(names[code]) for code in unknown[:5])
    bad = rows[np.isin(codes, unknown)]
    near = get_close_matches(names[unknown[0]], classes, 1)
    advice = f"Is it a slip for {near[0]!r}? Then correct it in the file. Else g" if near else "G"
    advice += "ive --classes with the names of the labels, in the order of the columns"
    advice += "; or delete the row if it is no prediction" if len(bad) == 1 else ""
    raise PredictionsRefused(
        f"no column is about the label{'s' if len(unknown) > 1 else ''} {shown} "
        f"({rows_listed(bad, 3)}); the columns are about {', '.join(classes[:8])}. {advice}"
    )


def _is_index(name: str, count: int) -> bool:
    return name.isascii() and name.isdecimal() and int(name) < count


def loose_name(name: str) -> str:
    """The name without case and punctuation; accents that a Mac decomposes are the same.

    >>> loose_name("Non-specific"), loose_name("Class 07"), loose_name("-1")
    ('nonspecific', '7', '-1')
    """
    plain = unicodedata.normalize("NFKC", name.casefold())
    if number := _NUMBER.fullmatch(plain.strip()):
        return str(int(number[1]))
    return "".join(letter for letter in plain if letter.isalnum()) or name
