"""Whether columns are findings, of which an image may have several, or exclusive classes.

Labels decide. Rows with several findings, none, or unknown ones are no classes, and neither are
lists such as `Edema|Mass`: never is a class made of each combination. A list does not say what is
absent, so the user is asked which findings were looked for.
"""

from collections.abc import Sequence

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.temperature import sigmoid
from calibration.findings.labels import SEPARATOR, UNCERTAIN, FindingLabels, from_lists
from calibration.wording import counted, some
from candor.predictions.collected import Collected
from candor.predictions.columns import Kind, TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.interpretation import identity, interpret, kept_rows
from candor.predictions.labeled import LabeledFindings, Predictions, ReadingOptions
from candor.predictions.scores import SUM_TOLERANCE, fractions
from candor.predictions.truths import loose_name


def interpret_cells(
    found: Collected, columns: TableColumns, options: ReadingOptions
) -> Predictions:
    """Return what the cells mean: findings or classes. Raises PredictionsRefused."""
    findings = find_findings(found, columns, options) if found.rows else None
    return findings or interpret(found, columns, options)


def find_findings(
    found: Collected, columns: TableColumns, options: ReadingOptions
) -> LabeledFindings | None:
    """Return the findings that the cells are about; None if they are classes.

    Raises:
        PredictionsRefused: findings without scores, lists without the findings looked for, cells
            that are no labels, or labels that are not exclusive though the caller says so.
    """
    labels = _labels(found, options) if options.needs_labels else None
    if options.needs_labels and not _are_findings(labels, found, options):
        return None
    if not options.needs_labels and options.findings is None:
        return None
    if found.scores is None or not found.scores.shape[1]:
        raise PredictionsRefused(
            "labels are of findings, and which columns hold their probabilities? Name them with "
            "--probabilities 'p_*' or --probabilities a,b,c (--logits for logits)"
        )
    names, scores, known, notes = _matched(found, found.scores, labels)
    missing = np.asarray(np.isnan(scores).any(axis=1))
    truth = None if known is None else np.where(np.isnan(known).all(axis=1), -1, 0)
    kept, left_out = kept_rows(found, truth, missing, needs_labels=options.needs_labels)
    rows = np.flatnonzero(kept) + 1
    kind, p, said = _probabilities(scores[kept], rows, options.wishes.kind or columns.kind)
    return LabeledFindings(
        kind=kind,
        names=names,
        probabilities=p,
        labels=None if known is None else known[kept],
        notes=(*notes, *said),
        left_out=left_out,
        **identity(found, columns, kept),
    )


def _labels(found: Collected, options: ReadingOptions) -> FindingLabels | None:
    """Labels of findings, with UNCERTAIN; None if they are names of classes."""
    if found.one_hot is not None:
        return _of_columns(found, found.one_hot, options.findings)
    texts = [_canonical(text, found.score_names) for text in found.classes.names]
    listed = found.labels is not None and any(SEPARATOR in text for text in texts)
    if found.labels is None or options.exclusive:
        return None
    if not listed and options.findings is None and found.looked_for is None:
        return None
    return _from_lists(found, found.labels, texts, options)


def _of_columns(found: Collected, labels: FloatArray, sought: str | None) -> FindingLabels:
    names, width = found.one_hot_names, labels.shape[1]
    if names == tuple(map(str, range(width))):  # they have no names of their own
        if len(found.score_names) != width:
            raise PredictionsRefused(
                f"labels have {counted(width, 'column')} without names, scores "
                f"{len(found.score_names)}: which of them are labeled?"
            )
        names = found.score_names
    if sought in (None, "*"):
        return FindingLabels(names, labels)
    chosen = _canonical(str(sought), names).split(SEPARATOR)
    if unknown := [name for name in chosen if name not in names]:
        raise PredictionsRefused(
            f"{unknown[0]!r} has no column of labels; they are of {some(names, 12)} "
            "(--classes names them)"
        )
    return FindingLabels(tuple(chosen), labels[:, [names.index(name) for name in chosen]])


def _from_lists(
    found: Collected, labels: IntArray, texts: Sequence[str], options: ReadingOptions
) -> FindingLabels:
    sought: Sequence[str] | str | None = options.findings
    if found.looked_for is not None:
        names = [_canonical(text, found.score_names) for text in found.looked_for_names.names]
        sought = [names[code] if code >= 0 else "" for code in found.looked_for]
    if sought is None:
        example = next(text for text in texts if SEPARATOR in text)
        raise PredictionsRefused(
            f"labels such as {example!r} list what is there, not what is absent: say which "
            "findings were looked for in each row with --findings 'A|B|C', or --findings '*' for "
            "all that columns are about, or in a column looked_for; names of exclusive classes "
            "need --exclusive"
        )
    cells = [texts[code] if code >= 0 else "" for code in labels]
    if isinstance(sought, str):
        sought = _canonical(sought, found.score_names)
    try:
        return from_lists(cells, sought, found.score_names)
    except ValueError as error:
        raise PredictionsRefused(str(error)) from None


def _canonical(text: str, names: Sequence[str]) -> str:
    """A list with entries spelled as the columns are."""
    known = {loose_name(name): name for name in names} | {name: name for name in names}
    parts = [part.strip() for part in text.split(SEPARATOR)]
    return SEPARATOR.join(known.get(part, known.get(loose_name(part), part)) for part in parts)


def _are_findings(labels: FindingLabels | None, found: Collected, options: ReadingOptions) -> bool:
    if labels is None:
        return False
    if options.findings is not None or found.labels is not None:
        return True
    labeled = labels.labels[~np.isnan(labels.labels).all(axis=1)]
    ones = np.nan_to_num(labeled)
    one_each = bool(((ones.sum(axis=1) == 1) & (ones.max(axis=1, initial=0) == 1)).all())
    if options.exclusive and not one_each:
        raise PredictionsRefused(
            "labels have rows with several of the columns, or none: they are no --exclusive classes"
        )
    if not one_each and options.findings is None and _add_up(found.scores):
        several = np.nan_to_num(labels.labels).sum(axis=1) != 1
        raise PredictionsRefused(
            "columns of true labels of exclusive classes have a single 1 in each row; "
            f"{rows_listed(np.flatnonzero(several) + 1)} have not. Probabilities add up to 1, as "
            "those of such classes do: correct the labels, or give --findings '*' if a row may "
            "have several"
        )
    if one_each and not options.exclusive and np.isnan(labeled).any():
        raise PredictionsRefused(
            "each row has a single 1 and blanks: give --exclusive if a blank is a 0, so that "
            "columns are classes; --findings '*' if it is unknown, so that each is a finding"
        )
    return not one_each


def _add_up(scores: FloatArray | None) -> bool:
    """Whether scores (N, K) are those of exclusive classes: each row adds up to 1, or to 100."""
    if scores is None or scores.shape[1] < 2 or np.nanmin(scores, initial=0) < 0:
        return False
    sums = scores[~np.isnan(scores).any(axis=1)].sum(axis=1)
    return any(
        sums.size > 0 and bool(np.abs(sums / whole - 1).max() < SUM_TOLERANCE) for whole in (1, 100)
    )


def _matched(
    found: Collected, scores: FloatArray, labels: FindingLabels | None
) -> tuple[tuple[str, ...], FloatArray, FloatArray | None, tuple[str, ...]]:
    """Names, scores and labels (1, 0, NaN) of the findings that have both, and notes."""
    if labels is None:
        return found.score_names, scores, None, ()
    numbered = labels.names == tuple(map(str, range(scores.shape[1])))
    names = found.score_names if numbered else labels.names
    places = {loose_name(name): place for place, name in enumerate(names)}
    places |= {name: place for place, name in enumerate(names)}  # case may tell two apart
    pairs = [
        (place, places.get(name, places.get(loose_name(name))))
        for place, name in enumerate(found.score_names)
    ]
    both = [(place, at) for place, at in pairs if at is not None]
    if not both:
        raise PredictionsRefused(
            f"no finding has labels and probabilities: labels are of {some(names, 12)}; the "
            f"columns of scores are about {some(found.score_names, 12)}"
        )
    values = labels.labels[:, [at for _, at in both]]
    lacking = [found.score_names[place] for place, at in pairs if at is None]
    lacking += [
        each for each in names if loose_name(each) not in map(loose_name, found.score_names)
    ]
    notes = []
    if lacking:
        notes.append(f"Left out, for want of labels or probabilities: {some(lacking, 12)}.")
    if uncertain := int((values == UNCERTAIN).sum()):
        notes.append(f"{counted(uncertain, 'uncertain label')} (-1) count as unknown.")
    known = np.where(values == UNCERTAIN, np.nan, values)
    if not np.isin(known[~np.isnan(known)], (0, 1)).all():
        raise PredictionsRefused("a label of a finding is 1, 0, -1 (uncertain) or blank (unknown)")
    chosen = [place for place, _ in both]
    return tuple(found.score_names[place] for place in chosen), scores[:, chosen], known, (*notes,)


def _probabilities(
    scores: FloatArray, rows: IntArray, kind: Kind | None
) -> tuple[Kind, FloatArray, tuple[str, ...]]:
    if kind == "logits" or (kind is None and scores.min() < 0):
        if not np.isfinite(scores).all():
            bad = rows[~np.isfinite(scores).all(axis=1)]
            raise PredictionsRefused(f"scores must be finite numbers; {rows_listed(bad)} are not")
        said = () if kind else ("Some scores are below 0: taken as logits, each by itself.",)
        return "logits", sigmoid(scores), said
    flat, notes = fractions(scores.ravel(), np.repeat(rows, scores.shape[1]))
    p = flat.reshape(scores.shape)
    if _add_up(p):
        notes += (
            "Each row of probabilities adds up to 1, as those of exclusive classes do. Make sure "
            "that they are of independent findings.",
        )
    return "probabilities", p, notes
