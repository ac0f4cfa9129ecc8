"""From the columns of a table to labeled predictions of exclusive classes, or of a confidence."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.measures.metrics import top_label
from calibration.wording import parameter
from candor.predictions.cells import as_text, marks
from candor.predictions.classes import (
    column_classes,
    known_pair,
    match_labels,
    require_names,
    require_sense,
    two_classes,
)
from candor.predictions.columns import TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.kept_rows import kept_rows
from candor.predictions.labeled import LabeledPredictions, ReadingOptions
from candor.predictions.scores import fractions, share_of_two, shares
from candor.predictions.table import ColumnTable

_YES = {"1", "true", "yes", "right", "correct"}
_FEWEST = 10  # answers of a class, to tell
_NO = {"0", "false", "no", "wrong", "incorrect"}
Texts = npt.NDArray[np.object_]
Scored = tuple[tuple[str, ...], FloatArray]


def scored(table: ColumnTable, columns: TableColumns) -> Scored | None:
    """The classes that the columns of scores are about, and the scores (N, K)."""
    if not columns.scores:
        return None
    first = columns.scores[0]
    if len(columns.scores) == 1 and table.is_wide(first.column):
        return table.wide(first.column)
    values = [table.numbers(each.column) for each in columns.scores]
    return tuple(each.name for each in columns.scores), np.stack(values, axis=1)


def interpret(
    table: ColumnTable, columns: TableColumns, found: Scored | None, options: ReadingOptions
) -> LabeledPredictions:
    """Return what the cells mean. Raises PredictionsRefused."""
    if found is None or not found[1].shape[1]:
        return _of_confidence(table, columns, options)
    truth = _labels(table, columns) if options.needs_labels else None
    names, values = found
    unlabeled = None if truth is None else np.asarray(truth == "")
    if unlabeled is not None and unlabeled.any():
        require_names(names)
    missing = np.asarray(np.isnan(values).any(axis=1))
    kept, identity = kept_rows(table, columns, unlabeled=unlabeled, missing=missing)
    rows, scores = identity["rows"], values[kept]
    texts = None if truth is None else truth[kept].tolist()
    kind = columns.kind
    _require_use(options, single=len(names) == 1)
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    if len(names) == 1:
        classes = _pair(columns, texts, options)
        p = share_of_two(scores[:, 0], rows, kind=kind)
        what = "logit" if kind == "logits" else "probability"
        said = f"{columns.scores[0].column} was taken as the {what} of {classes[1]!r}"
        notes = (f"{said} ({parameter('positive')}).",)
    else:
        classes = column_classes(names, options.classes)
        p, notes = shares(scores, rows, kind=kind, normalize=options.normalize)
    labels = None
    if texts is not None:
        labels, of_labels = match_labels(texts, classes, rows, given=options.classes)
        notes += of_labels
        require_sense(p, labels, classes, identity["groups"])
        if (top_label(p)[1] == labels).all():
            notes += (
                "Every answer is right. Make sure that the labels are truths and not predictions.",
            )
    return LabeledPredictions(
        kind="logits" if kind == "logits" else "probabilities",
        classes=classes,
        probabilities=p,
        labels=labels,
        notes=notes,
        **identity,
    )


def _require_use(options: ReadingOptions, *, single: bool) -> None:
    """Raise PredictionsRefused for an option that would do nothing."""
    if single and options.normalize:
        raise PredictionsRefused(f"{parameter('normalize')}: there is a single column of scores")
    if options.positive is not None and not single:
        raise PredictionsRefused(f"{parameter('positive')}: each class has a column of scores")
    if options.positive is not None and options.classes is not None:
        raise PredictionsRefused(f"{parameter('positive')}: the second of the classes is, as given")


def _labels(table: ColumnTable, columns: TableColumns) -> Texts:
    """The class of each row, (N,). Raises PredictionsRefused if no column says it."""
    found = class_labels(table, columns)
    if found is None:
        raise PredictionsRefused(
            f"which column holds the true class? Name it with {parameter('labels', 'COLUMN')} (or "
            "one column per class: label_A, label_B). Predictions without labels can be calibrated "
            "by a calibrator that you have: candor calibrate FILE "
            f"{parameter('apply', 'CALIBRATOR')} {parameter('to', 'FILE')}"
        )
    return np.array(found, dtype=object)


def _pair(
    columns: TableColumns, labels: Sequence[str] | None, options: ReadingOptions
) -> tuple[str, str]:
    """The two classes of a single column, the one that it is of second."""
    column = columns.scores[0]
    if options.classes is not None and len(options.classes) == 2:
        return options.classes[0], options.classes[1]
    if options.known:
        return known_pair(options.known, column, options.positive)
    if labels is None:
        raise PredictionsRefused(
            "one column of probabilities and no labels: name both classes, with "
            f"{parameter('classes', 'NO,YES')}; or, if it is that of the predicted class, name it "
            f"with {parameter('confidence', 'COLUMN')}"
        )
    of_its_own = columns.label in (column.name, f"label_{column.name}") if column.name else False
    return two_classes(labels, column, options.positive, is_its_label=of_its_own)


def _of_confidence(
    table: ColumnTable, columns: TableColumns, options: ReadingOptions
) -> LabeledPredictions:
    if columns.confidence is None:
        raise PredictionsRefused(_no_scores(columns, options))
    values = table.numbers(columns.confidence)
    correct = _correct(table, columns) if options.needs_labels else None
    unlabeled = None if correct is None else np.isnan(correct)
    kept, identity = kept_rows(table, columns, unlabeled=unlabeled, missing=np.isnan(values))
    p = fractions(values[kept][:, np.newaxis], identity["rows"], kind=columns.kind)
    if columns.predicted is not None:
        said = np.array(table.texts(columns.predicted), dtype=object)[kept]
        _refuse_one_class(p[:, 0], said, columns.confidence)
    return LabeledPredictions(
        kind="confidence",
        confidence=p[:, 0],
        correct=None if correct is None else correct[kept] == 1,
        **identity,
    )


def _refuse_one_class(confidence: FloatArray, predicted: Texts, column: str) -> None:
    """Refuse the probability of one of two classes: it is lower wherever the other is predicted."""
    names = sorted(set(predicted) - {""})
    if len(names) != 2:
        return
    first, second = (confidence[predicted == name] for name in names)
    if min(len(first), len(second)) < _FEWEST:
        return
    for low, high, name in ((first, second, names[1]), (second, first, names[0])):
        if low.max() <= high.min():
            raise PredictionsRefused(
                f"the column {column!r} is no confidence: it is always lower for one predicted "
                f"class, as the probability of {name!r} alone. Give {parameter('scores', column)} "
                f"{parameter('positive', name)}"
            )


def _no_scores(columns: TableColumns, options: ReadingOptions) -> str:
    there = ", ".join(name for _, name in columns.described()) or "none"
    if options.known:
        listed = ",".join(options.known)
        return (
            f"no columns are called as the classes of the calibrator, {', '.join(options.known)}. "
            f"Name them in this order with {parameter('scores', 'a,b,c')} "
            f"{parameter('classes', listed)}. Columns: {there}"
        )
    return (
        "which columns hold the scores of the classes? Expected p_CLASS, prob_CLASS or "
        "logit_CLASS, columns called as the labels, prob or probabilities. Name others with "
        f"{parameter('scores', 'score_*')} or {parameter('scores', 'a,b,c')}, and the true class "
        f"with {parameter('labels')}. Columns: {there}"
    )


def _correct(table: ColumnTable, columns: TableColumns) -> FloatArray:
    """Whether each answer was right, (N,); NaN where that is missing."""
    if columns.correct is not None:
        return _yes_or_no(table.texts(columns.correct), columns.correct)
    if columns.label is None or columns.predicted is None:
        lacks = "true" if columns.label is None else "predicted"
        option = parameter("labels" if columns.label is None else "predicted")
        raise PredictionsRefused(
            "a confidence says how sure an answer was; whether it was right needs a column with "
            f"the {lacks} class ({option}), or one with 1 and 0 ({parameter('correct')}). If the "
            "column is the probability of one class of two, name it with "
            f"{parameter('scores', 'COLUMN')} {parameter('positive', 'CLASS')}"
        )
    both = (table.texts(name) for name in (columns.label, columns.predicted))
    truth, said = (np.array(texts, dtype=object) for texts in both)
    known = (truth != "") & (said != "")
    if known.any() and not set(truth[known]) & set(said[known]):
        shown = [", ".join(sorted(set(each[known]))[:4]) for each in (said, truth)]
        raise PredictionsRefused(
            f"no prediction ({shown[0]}) is ever a label ({shown[1]}): write both with the same "
            "names"
        )
    return np.where(known, truth == said, np.nan)


def _yes_or_no(texts: Sequence[str], column: str) -> FloatArray:
    plain = [text.casefold() for text in texts]
    wrong = [row for row, text in enumerate(plain, 1) if text and text not in _YES | _NO]
    if wrong:
        raise PredictionsRefused(
            f"{rows_listed(wrong)}, column {column!r}: {texts[wrong[0] - 1][:40]!r} does not say "
            "whether the answer was right; expected 1 or 0, true or false"
        )
    return np.array([float(text in _YES) if text else np.nan for text in plain])


def label_columns(
    table: ColumnTable, columns: TableColumns
) -> tuple[tuple[str, ...], FloatArray] | None:
    """Return what the columns are about, and the cells (N, L) as 1, 0, -1 or NaN; None without."""
    if columns.one_hot:
        read = [marks(table.cells(each.column), each.column) for each in columns.one_hot]
        return tuple(each.name for each in columns.one_hot), np.stack(read, axis=1)
    if columns.label is not None and table.is_wide(columns.label):
        return table.wide(columns.label)
    return None


def class_labels(table: ColumnTable, columns: TableColumns) -> list[str] | None:
    """The class of each row, empty for rows without one; None if no column says it.

    Raises PredictionsRefused: a row has not a single 1.
    """
    found = label_columns(table, columns)
    if found is None:
        return None if columns.label is None else table.texts(columns.label)
    names, values = found
    empty = np.isnan(values).all(axis=1)
    one = np.nan_to_num(values)
    wrong = ~empty & ((one.sum(axis=1) != 1) | (one.max(axis=1) != 1))
    if wrong.any():
        raise PredictionsRefused(
            "columns of true labels must have a single 1 in each row; "
            f"{rows_listed(np.flatnonzero(wrong) + 1)} have not"
        )
    places = np.where(empty, -1, one.argmax(axis=1)).tolist()
    return [as_text(names[place]) if place >= 0 else "" for place in places]
