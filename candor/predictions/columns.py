"""What each column of a table is, by an explicit contract, or as the user says.

`label`; `p_CLASS`, `prob_CLASS` or `logit_CLASS`, or columns called as the labels; `prob` of two
classes; `probabilities` or `logits`, a list in each row; or `confidence` with `predicted` or
`correct`. Labels of findings have a column each, `label_NAME` or `NAME`. An option names every
other column. `candor calibrate`, `candor predictions` and `candor feedback` all ask here.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from calibration.findings.labels import LOOKED_FOR
from calibration.grouping import NO_GROUP, group_column
from calibration.splits import COLUMN as SPLIT
from calibration.wording import parameter, some
from candor.predictions.errors import PredictionsRefused

FILES: Final = ("file", "filename", "file_name", "path", "file_path", "image", "image_path")
ROW_IDS: Final = ("prediction_id", "request_id", "id", "image_id", "uid", "uuid")
_NUMBERS: Final = ("row", "index", "idx", "unnamed: 0", "")
_FAMILIES: Final = ("p_", "prob_", "logit_", "probability ")  # the last as `candor predict` writes
_LISTS: Final = ("probabilities", "logits")
_BINARY: Final = "prob"
_LABEL_OF: Final = "label_"

Kind = Literal["probabilities", "percent", "logits"]


@dataclass(frozen=True)
class ClassColumn:
    """A column of one class: its name in the table, and the class; empty if it names none."""

    column: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ColumnWishes:
    """What the caller says the columns are; None where names decide.

    `scores` may use `*`, which then stands for the class. `group` is NO_GROUP if each row stands
    alone; `group_pattern` finds the group in the names of files.
    """

    label: str | None = None
    predicted: str | None = None
    confidence: str | None = None
    correct: str | None = None
    group: str | None = None
    group_pattern: str | None = None
    scores: str | None = None
    kind: Kind | None = None

    @property
    def names_columns(self) -> tuple[str, ...]:
        """The parameters that name columns, of those that are given."""
        names = ("scores", "predicted", "confidence", "correct", "group_pattern")
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True, kw_only=True)
class TableColumns:
    """What each column is.

    Attributes:
        label, predicted, confidence, correct, group: columns; None if the table has none.
        scores: one column per class, in the order of the table. A single one has the score of one
            class of two, or a list of the scores of all.
        one_hot: true labels as one column of 0 and 1 per class.
        looked_for: the findings that were looked for in each row, as a list.
        split: whether a row trained the model, validated it, or tests it.
        group_pattern: what finds the group in the cells of `group`; None if these are the groups.
        kind: what the scores are, if the names or the caller say so.
        files: the column of image files; `ids`: columns that identify a row; `unused`: all others.
        repeated: rows whose file or id an earlier row has.
    """

    label: str | None = None
    predicted: str | None = None
    confidence: str | None = None
    correct: str | None = None
    group: str | None = None
    group_pattern: str | None = None
    scores: tuple[ClassColumn, ...] = ()
    one_hot: tuple[ClassColumn, ...] = ()
    looked_for: str | None = None
    split: str | None = None
    kind: Kind | None = None
    files: str | None = None
    ids: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    repeated: int = 0

    def described(self) -> list[tuple[str, str]]:
        """What was taken for what, as pairs of a role and columns."""
        scores = [
            f"{each.column} ({each.name})" if each.name else each.column for each in self.scores
        ]
        pairs = [
            ("true label", self.label or ", ".join(each.column for each in self.one_hot)),
            ("looked for", self.looked_for),
            ("predicted class", self.predicted),
            ("confidence", self.confidence),
            ("whether it was right", self.correct),
            (self.kind or "scores of classes", some(scores, 6)),
            ("split", self.split),
            ("group", self.group),
            ("ids", ", ".join(self.ids)),
            ("not used", ", ".join(self.unused)),
        ]
        return [(role, columns) for role, columns in pairs if columns]


def find_columns(
    names: Sequence[str], wishes: ColumnWishes | None = None, *, labels: Collection[str] = ()
) -> TableColumns:
    """Map the columns of a table.

    Args:
        wishes: what the caller says.
        labels: names of classes, as the label column or a calibrator has them; columns with such
            names are scores of these classes.

    Raises PredictionsRefused if a wish names no column, or two sets of columns could be the scores.

    >>> found = find_columns(["file", "p_normal", "p_ill", "label"])
    >>> found.label, [each.name for each in found.scores], found.ids
    ('label', ['normal', 'ill'], ('file',))
    """
    wanted = wishes or ColumnWishes()
    wished = (wanted.label, wanted.predicted, wanted.confidence, wanted.correct, wanted.group)
    for wish in wished:
        if wish not in (None, NO_GROUP, *names):
            raise PredictionsRefused(f"there is no column {wish!r}; the table has {_listed(names)}")
    left = [name for name in names if name not in wished]
    label = _take(left, wanted.label, "label", "labels")
    predicted = _take(left, wanted.predicted, "predicted")
    confidence = _take(left, wanted.confidence, "confidence")
    correct = _take(left, wanted.correct, "correct")
    looked_for, split = _take(left, None, LOOKED_FOR), _take(left, None, SPLIT)
    marked = () if label else _prefixed(left, _LABEL_OF)
    scores = _scores(left, wanted, {*labels, *(each.name for each in marked)})
    left = [name for name in left if name not in {each.column for each in scores}]
    one_hot = () if label else marked or _called(left, [each.name for each in scores if each.name])
    if len(one_hot) == len(scores) == 1:  # the label of the one class that there is a score of
        label, one_hot = one_hot[0].column, ()
    left = [name for name in left if name not in {label, *(each.column for each in one_hot)}]
    ids = tuple(name for name in left if name.casefold() in (*FILES, *ROW_IDS, *_NUMBERS))
    left = [name for name in left if name not in ids]
    stands_alone = wanted.group == NO_GROUP and NO_GROUP not in names
    group = None if stands_alone else _take(left, wanted.group or group_column(left))
    return TableColumns(
        label=label,
        predicted=predicted,
        confidence=confidence,
        correct=correct,
        group=group,
        scores=scores,
        one_hot=one_hot,
        looked_for=looked_for,
        split=split,
        kind=wanted.kind or _kind_of(scores),
        files=next((name for name in ids if name.casefold() in FILES), None),
        ids=ids,
        unused=tuple(left),
    )


def is_score(name: str, wishes: ColumnWishes) -> bool:
    """Whether a column holds numbers, whatever the others are."""
    if wishes.scores is not None:
        return any(_matches(name, part) for part in wishes.scores.split(","))
    plain = name.casefold()
    return plain == _BINARY or plain.startswith(_FAMILIES)


def _take(left: list[str], wish: str | None, *known: str) -> str | None:
    """Take the wished column, or one that is called so, out of those that are left."""
    plain = {name.casefold(): name for name in left}
    found = wish or next((plain[name] for name in known if name in plain), None)
    if found in left:
        left.remove(str(found))
    return found


def _scores(
    left: Sequence[str], wishes: ColumnWishes, labels: Collection[str]
) -> tuple[ClassColumn, ...]:
    if wishes.scores is not None:
        return _wished(left, wishes.scores)
    found = [_prefixed(left, family) for family in _FAMILIES]
    found += [(ClassColumn(name, ""),) for name in left if name.casefold() in (_BINARY, *_LISTS)]
    found = [each for each in found if each]
    if len(found) > 1:
        first, second = (_listed([each.column for each in columns]) for columns in found[:2])
        raise PredictionsRefused(
            f"{first} and {second} could each be the scores: name the columns with "
            f"{parameter('scores')}"
        )
    called = tuple(ClassColumn(name, name) for name in left if name in labels)
    return found[0] if found else called if len(called) > 1 else ()


def _prefixed(left: Sequence[str], prefix: str) -> tuple[ClassColumn, ...]:
    return tuple(
        ClassColumn(name, name[len(prefix) :].strip())
        for name in left
        if name.casefold().startswith(prefix) and len(name) > len(prefix)
    )


def _called(left: Sequence[str], classes: Collection[str]) -> tuple[ClassColumn, ...]:
    return tuple(ClassColumn(name, name) for name in left if name in classes)


def _kind_of(scores: Sequence[ClassColumn]) -> Kind | None:
    first = scores[0].column.casefold() if scores else ""
    return "logits" if first.startswith("logit_") or first == "logits" else None


def _wished(left: Sequence[str], wish: str) -> tuple[ClassColumn, ...]:
    found: dict[str, str] = {}
    for part in (each.strip() for each in wish.split(",")):
        matched = {name: _class_of(name, part) for name in left if _matches(name, part)}
        if not matched:
            raise PredictionsRefused(f"no column is {part!r}; the table has {_listed(left)}")
        found |= matched
    columns = tuple(ClassColumn(name, called) for name, called in found.items())
    alone = len(columns) == 1 and columns[0].column == columns[0].name
    return (ClassColumn(columns[0].column, ""),) if alone else columns


def _matches(name: str, part: str) -> bool:
    part = part.strip()
    pattern = "(.*)".join(map(re.escape, part.split("*")))
    return name == part or re.fullmatch(pattern, name) is not None


def _class_of(name: str, part: str) -> str:
    """What `*` stands for; without one, what follows a prefix of the contract, or the name."""
    if part.count("*") == 1:
        start, _, end = part.partition("*")
        return name[len(start) : len(name) - len(end)].strip()
    prefix = next((each for each in _FAMILIES if name.casefold().startswith(each)), "")
    return name[len(prefix) :].strip()


def _listed(names: Iterable[str]) -> str:
    return some([repr(name) for name in names], 12) or "no columns"
