"""From collected cells to labeled predictions: rows that count, scores, labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.wording import counted
from candor.predictions.collected import Collected, as_text
from candor.predictions.columns import TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.labeled import LabeledPredictions, ReadingOptions
from candor.predictions.scores import Scores, fractions, interpret_scores, interpret_single
from candor.predictions.truths import (
    known_names,
    known_pair,
    match_labels,
    positive_class,
    suspicious_truths,
)

ENOUGH_ROWS = 20  # to tell an order of columns from chance


def interpret(
    found: Collected, columns: TableColumns, options: ReadingOptions
) -> LabeledPredictions:
    """Return what the cells mean. Raises PredictionsRefused."""
    if not found.rows:
        raise PredictionsRefused("the file has no rows")
    if found.scores is not None and found.scores.shape[1]:
        return _of_scores(found, found.scores, columns, options)
    return _of_confidence(found, columns, options)


def _of_scores(
    found: Collected, values: FloatArray, columns: TableColumns, options: ReadingOptions
) -> LabeledPredictions:
    truth = _truth(found) if options.needs_labels else None
    if truth is None and options.needs_labels:
        raise PredictionsRefused(
            "which column holds the true class? Name it with --label COLUMN (or one column per "
            "class: label_A, label_B)"
        )
    if truth is not None and (truth < 0).any():
        _require_names(found.score_names)
    kept, left_out = kept_rows(
        found, truth, np.asarray(np.isnan(values).any(axis=1)), needs_labels=options.needs_labels
    )
    rows = np.flatnonzero(kept) + 1
    scores, codes = values[kept], None if truth is None else truth[kept]
    kind = options.wishes.kind or columns.kind
    if scores.shape[1] == 1:
        classes, read, said = _binary(found, scores[:, 0], codes, rows, columns, options)
    else:
        classes, said = _class_names(found, options)
        read = interpret_scores(scores, rows, kind=kind, normalize=options.normalize)
        if options.classes is None:
            _refuse_ranks(read.probabilities, classes)
    labels = None
    if codes is not None:
        labels, about = match_labels(
            found.classes.names, codes, classes, rows, are_given=options.classes is not None
        )
        said = (*said, *about, *suspicious_truths(read.probabilities, labels, classes))
    return LabeledPredictions(
        kind=read.kind,
        classes=classes,
        probabilities=read.probabilities,
        labels=labels,
        notes=(*read.notes, *said),
        left_out=left_out,
        **identity(found, columns, kept),
    )


def _refuse_ranks(probabilities: FloatArray, columns: Sequence[str]) -> None:
    """Refuse columns that fall from left to right in every row, as of the likeliest classes."""
    rows, count = probabilities.shape
    if rows >= ENOUGH_ROWS and count > 2 and (np.diff(probabilities, axis=1) <= 0).all():
        raise PredictionsRefused(
            f"the columns of {', '.join(columns[:6])} fall from left to right in every row, as "
            "those of the first, second and third guess do: give one column per class; if they "
            "are classes, name them with --classes"
        )


def _require_names(classes: Sequence[str]) -> None:
    """Refuse a class whose labels would be taken as missing ones."""
    for name in classes:
        if name and as_text(name) is None:
            raise PredictionsRefused(
                f"a class is called {name!r}, and so are missing labels: rename the class, in its "
                "column and in the labels"
            )


def _binary(
    found: Collected,
    scores: FloatArray,
    codes: IntArray | None,
    rows: IntArray,
    columns: TableColumns,
    options: ReadingOptions,
) -> tuple[tuple[str, ...], Scores, tuple[str, ...]]:
    column = columns.scores[0].column if columns.scores else columns.vector
    if options.classes is not None and len(options.classes) == 2:
        classes = options.classes
    elif options.known:
        classes = known_pair(options.known, (column or "", *found.score_names), options.positive)
    elif codes is None:
        raise PredictionsRefused(
            "one column of probabilities and no labels: name both classes, with --classes NO,YES; "
            "or, if it is that of the predicted class, name it with --confidence COLUMN"
        )
    else:
        names = [found.classes.names[code] for code in sorted(set(codes.tolist()))]
        classes = positive_class(
            names, found.score_names[0] if found.score_names else "", options.positive
        )
    read = interpret_single(scores, rows, kind=options.wishes.kind or columns.kind)
    what = "logit" if read.kind == "logits" else "probability"
    return (
        classes,
        read,
        (f"{column} was taken as the {what} of {classes[1]!r}; --positive names the other class.",),
    )


def _of_confidence(
    found: Collected, columns: TableColumns, options: ReadingOptions
) -> LabeledPredictions:
    if found.confidence is None:
        _require_truth(found, columns, options)
        names = ", ".join(name for _, name in columns.described()) or "none"
        if options.known:
            raise PredictionsRefused(
                "no columns are called as the classes of the calibrator, "
                f"{', '.join(options.known)}. Name them in this order with --probabilities a,b,c "
                f"--classes {','.join(options.known)}. Columns: {names}"
            )
        raise PredictionsRefused(
            "which columns hold the probabilities of the classes? Name them with --probabilities "
            f"'p_*' or --probabilities a,b,c (--logits for logits). Columns: {names}"
        )
    correct = found.correct if options.needs_labels else None
    if correct is None and options.needs_labels:
        correct = _correct(found)
    missing = np.isnan(found.confidence)
    truth = None if correct is None else np.where(np.isnan(correct), -1, 0).astype(np.int64)
    kept, left_out = kept_rows(found, truth, missing, needs_labels=options.needs_labels)
    rows = np.flatnonzero(kept) + 1
    confidence, said = fractions(found.confidence[kept], rows)
    return LabeledPredictions(
        kind="confidence",
        confidence=confidence,
        correct=None if correct is None else correct[kept] == 1,
        notes=said,
        left_out=left_out,
        **identity(found, columns, kept),
    )


def _require_truth(found: Collected, columns: TableColumns, options: ReadingOptions) -> None:
    lacks = found.labels is None and found.one_hot is None and found.correct is None
    if lacks and options.needs_labels and columns.unused:
        raise PredictionsRefused(
            f"no column holds the true class: there is {', '.join(columns.unused[:12])}. Name it "
            "with --label COLUMN; if other columns hold the probabilities of the classes, name "
            "them with --probabilities a,b,c. Predictions without labels can be calibrated by a "
            "calibrator that you have: --apply CALIBRATOR --to FILE"
        )


def _correct(found: Collected) -> FloatArray:
    """Whether each answer was right, (N,); NaN where predicted class or label is missing."""
    if found.labels is None or found.predicted is None:
        lacks = "true class (--label)" if found.labels is None else "predicted class (--predicted)"
        raise PredictionsRefused(
            "a confidence says how sure an answer was; whether it was right needs a column with "
            f"the {lacks}, or one with 1 and 0 (--correct). If the column is the probability of "
            "one class of two, name it with --probabilities COLUMN --positive CLASS"
        )
    known = (found.labels >= 0) & (found.predicted >= 0)
    said = {found.classes.names[code] for code in set(found.predicted[known].tolist())}
    true = {found.classes.names[code] for code in set(found.labels[known].tolist())}
    if known.any() and not said & true:
        raise PredictionsRefused(
            f"no prediction ({', '.join(sorted(said)[:4])}) is ever a label "
            f"({', '.join(sorted(true)[:4])}): write both with the same names"
        )
    return np.where(known, found.labels == found.predicted, np.nan)


def kept_rows(
    found: Collected, truth: IntArray | None, missing: npt.NDArray[np.bool_], *, needs_labels: bool
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """The rows that count, (N,), and what is left out. Raises PredictionsRefused if none."""
    unlabeled = np.zeros(found.rows, dtype=bool) if truth is None else truth < 0
    notes = []
    if unlabeled.any():
        notes.append(
            f"{counted(int(unlabeled.sum()), 'row')} without a label left out: {_rows(unlabeled)}."
        )
    if (missing & ~unlabeled).any():
        left = missing & ~unlabeled
        notes.append(
            f"{counted(int(left.sum()), 'row')} with a missing value left out: {_rows(left)}."
        )
    ungrouped = np.zeros(found.rows, dtype=bool) if found.groups is None else found.groups < 0
    if ungrouped.any() and needs_labels:
        raise PredictionsRefused(
            f"{_rows(ungrouped)} name no group: fill the column, or give --group none if each row "
            "stands alone"
        )
    kept = ~(unlabeled | missing)
    if not kept.any():
        raise PredictionsRefused(
            "no row has both a label and its probabilities" if needs_labels else "no row has values"
        )
    return kept, tuple(notes)


def _rows(where: npt.NDArray[np.bool_]) -> str:
    return rows_listed(np.flatnonzero(where) + 1)


def _truth(found: Collected) -> IntArray | None:
    """Codes of the labels, in a column or in columns of 0 and 1; -1 for rows without a value."""
    if found.labels is not None:
        return found.labels
    if found.one_hot is None:
        return None
    empty = np.isnan(found.one_hot).all(axis=1)
    marks = np.nan_to_num(found.one_hot)
    wrong = ~empty & ((marks.sum(axis=1) != 1) | (marks.max(axis=1) != 1))
    if wrong.any():
        raise PredictionsRefused(
            f"columns of true labels must have a single 1 in each row; {_rows(wrong)} have not"
        )
    codes = found.classes.of(found.one_hot_names)
    return np.where(empty, -1, codes[marks.argmax(axis=1)])


def _class_names(
    found: Collected, options: ReadingOptions
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of the columns, and notes."""
    if options.classes is None:
        return known_names(found.score_names, options.known)
    if len(options.classes) != len(found.score_names):
        raise PredictionsRefused(
            f"--classes names {len(options.classes)} classes; there are {len(found.score_names)} "
            "columns of scores"
        )
    return options.classes, ()


def identity(
    found: Collected, columns: TableColumns, kept: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Return what the kept rows (N,) are called, and what their columns were taken for."""
    return {
        "groups": None if found.groups is None else found.groups[kept],
        "rows": np.flatnonzero(kept) + 1,
        "id_names": found.id_names,
        "ids": None if found.ids is None else found.ids[kept],
        "taken": tuple(columns.described()),
    }
