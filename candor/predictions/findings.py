"""Whether columns are findings, of which an image may have several, or exclusive classes.

Labels decide. Rows with several findings, none, or unknown ones are no classes, and neither are
lists such as `Edema|Mass`: never is a class made of each combination. A list does not say what is
absent, so the user is asked which findings were looked for.
"""

from collections.abc import Sequence

import numpy as np

from calibration.bins import FloatArray
from calibration.findings.labels import (
    ALL,
    LOOKED_FOR,
    SEPARATOR,
    UNCERTAIN,
    FindingLabels,
    from_lists,
)
from calibration.wording import counted, parameter, some
from candor.predictions.classes import require_sense
from candor.predictions.columns import TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.interpretation import Scored, interpret, label_columns, scored
from candor.predictions.kept_rows import kept_rows
from candor.predictions.labeled import LabeledFindings, Predictions, ReadingOptions
from candor.predictions.scores import add_up, fractions
from candor.predictions.table import ColumnTable


def interpret_table(
    table: ColumnTable, columns: TableColumns, options: ReadingOptions
) -> Predictions:
    """Return what the cells mean: findings or classes. Raises PredictionsRefused."""
    if not table.rows:
        raise PredictionsRefused(f"{table.source} has no rows")
    found = scored(table, columns)
    findings = find_findings(table, columns, found, options)
    return findings or interpret(table, columns, found, options)


def find_findings(
    table: ColumnTable, columns: TableColumns, found: Scored | None, options: ReadingOptions
) -> LabeledFindings | None:
    """Return the findings that the cells are about; None if they are classes.

    Raises:
        PredictionsRefused: findings without scores, lists without the findings looked for, cells
            that are no labels, or labels that are not exclusive though the caller says so.
    """
    about = () if found is None else found[0]
    labels = _labels(table, columns, about, options) if options.needs_labels else None
    if options.needs_labels and not _are_findings(labels, columns, found, options):
        return None
    if not options.needs_labels and options.findings is None:
        return None
    if found is None or not about:
        raise PredictionsRefused(
            "labels are of findings, and which columns hold their probabilities? Name them with "
            f"{parameter('scores', 'p_*')} or {parameter('scores', 'a,b,c')} "
            f"({parameter('logits', True)} for logits)"
        )
    names, scores, known, notes = _matched(found, labels)
    missing = np.asarray(np.isnan(scores).any(axis=1))
    unlabeled = None if known is None else np.asarray(np.isnan(known).all(axis=1))
    kept, identity = kept_rows(table, columns, unlabeled=unlabeled, missing=missing)
    p = fractions(scores[kept], identity["rows"], kind=columns.kind)
    if columns.kind != "logits" and add_up(p):
        notes += (
            "Each row of probabilities adds up to 1, as those of exclusive classes do. Make sure "
            "that they are of independent findings.",
        )
    truth = None if known is None else known[kept]
    if truth is not None:
        require_sense(p, truth, names, identity["groups"])
    return LabeledFindings(
        kind="logits" if columns.kind == "logits" else "probabilities",
        names=names,
        probabilities=p,
        labels=truth,
        notes=notes,
        **identity,
    )


def _labels(
    table: ColumnTable, columns: TableColumns, about: Sequence[str], options: ReadingOptions
) -> FindingLabels | None:
    """Labels of findings, with UNCERTAIN; None if they are names of classes."""
    found = label_columns(table, columns)
    if found is not None:
        return _of_columns(*found, about, options.findings)
    if columns.label is None or options.exclusive:
        return None
    texts = table.texts(columns.label)
    listed = any(SEPARATOR in text for text in texts)
    if not listed and options.findings is None and columns.looked_for is None:
        return None
    sought: Sequence[str] | str | None = options.findings
    if columns.looked_for is not None:
        sought = table.texts(columns.looked_for)
    if sought is None:
        example = next(text for text in texts if SEPARATOR in text)
        raise PredictionsRefused(
            f"labels such as {example!r} list what is there, not what is absent: say which "
            f"findings were looked for in each row with {parameter('findings', 'A|B|C')}, or "
            f"{parameter('findings', ALL)} for all that columns are about, or in a column "
            f"{LOOKED_FOR}; names of exclusive classes need {parameter('exclusive', True)}"
        )
    try:
        return from_lists(texts, sought, about)
    except ValueError as error:
        raise PredictionsRefused(str(error)) from None


def _of_columns(
    names: tuple[str, ...], labels: FloatArray, about: Sequence[str], sought: str | None
) -> FindingLabels:
    width = labels.shape[1]
    if names == tuple(map(str, range(width))):  # they have no names of their own
        if len(about) != width:
            raise PredictionsRefused(
                f"labels have {counted(width, 'column')} without names, scores "
                f"{len(about)}: which of them are labeled?"
            )
        names = tuple(about)
    if sought in (None, ALL):
        return FindingLabels(names, labels)
    chosen = [part.strip() for part in str(sought).split(SEPARATOR)]
    if unknown := [name for name in chosen if name not in names]:
        raise PredictionsRefused(
            f"{unknown[0]!r} has no column of labels; they are of {some(names, 12)} "
            f"({parameter('classes')} names them)"
        )
    return FindingLabels(tuple(chosen), labels[:, [names.index(name) for name in chosen]])


def _are_findings(
    labels: FindingLabels | None,
    columns: TableColumns,
    found: Scored | None,
    options: ReadingOptions,
) -> bool:
    if labels is None:
        return False
    if options.findings is not None or columns.looked_for is not None:
        return True
    labeled = labels.labels[~np.isnan(labels.labels).all(axis=1)]
    ones = np.nan_to_num(labeled)
    one_each = bool(((ones.sum(axis=1) == 1) & (ones.max(axis=1, initial=0) == 1)).all())
    if options.exclusive and not one_each:
        raise PredictionsRefused(
            "labels have rows with several of the columns, or none: they are no exclusive classes "
            f"({parameter('exclusive', True)})"
        )
    if not one_each and found is not None and _are_shares(found[1], columns):
        several = np.nan_to_num(labels.labels).sum(axis=1) != 1
        raise PredictionsRefused(
            "columns of true labels of exclusive classes have a single 1 in each row; "
            f"{rows_listed(np.flatnonzero(several) + 1)} have not. Probabilities add up to 1, as "
            f"those of such classes do: correct the labels, or give {parameter('findings', ALL)} "
            "if a row may have several"
        )
    if one_each and not options.exclusive and np.isnan(labeled).any():
        raise PredictionsRefused(
            f"each row has a single 1 and blanks: give {parameter('exclusive', True)} if a blank "
            f"is a 0, so that columns are classes; {parameter('findings', ALL)} if it is unknown, "
            "so that each is a finding"
        )
    return not one_each


def _are_shares(scores: FloatArray, columns: TableColumns) -> bool:
    full = scores[~np.isnan(scores).any(axis=1)]
    if columns.kind == "logits" or not full.size or full.min() < 0:
        return False
    return add_up(full / (100 if columns.kind == "percent" else 1))


def _matched(
    found: Scored, labels: FindingLabels | None
) -> tuple[tuple[str, ...], FloatArray, FloatArray | None, tuple[str, ...]]:
    """Names, scores and labels (1, 0, NaN) of the findings that have both, and notes."""
    names, scores = found
    if labels is None:
        return names, scores, None, ()
    both = [name for name in names if name in labels.names]
    if not both:
        raise PredictionsRefused(
            f"no finding has labels and probabilities: labels are of {some(labels.names, 12)}; "
            f"the columns of scores are about {some(names, 12)}"
        )
    values = labels.labels[:, [labels.names.index(name) for name in both]]
    lacking = [name for name in (*names, *labels.names) if name not in both]
    notes = []
    if lacking:
        notes.append(f"Left out, for want of labels or probabilities: {some(lacking, 12)}.")
    if uncertain := int((values == UNCERTAIN).sum()):
        notes.append(f"{counted(uncertain, 'uncertain label')} (-1) count as unknown.")
    known = np.where(values == UNCERTAIN, np.nan, values)
    if not np.isin(known[~np.isnan(known)], (0, 1)).all():
        raise PredictionsRefused("a label of a finding is 1, 0, -1 (uncertain) or blank (unknown)")
    if not (known == 0).any():
        raise PredictionsRefused(
            "no label says that a finding is absent: write 0 for that. A blank is unknown, and -1 "
            "is uncertain"
        )
    return tuple(both), scores[:, [names.index(name) for name in both]], known, (*notes,)
