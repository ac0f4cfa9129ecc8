"""What the columns of a table are: true label, predicted class, probabilities, ids.

Everything that reads such a table (`candor calibrate`, `candor predictions`, `candor feedback`)
maps its columns here, by name, and says what it took each for. What a name leaves open is refused
with the option that settles it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Final, Literal

from calibration.findings.labels import LOOKED_FOR
from calibration.grouping import group_column
from calibration.wording import some
from candor.predictions.column_names import (
    CONFIDENCE,
    CORRECT,
    IDS,
    JOINED,
    LABEL,
    LOGITS,
    NUMBERED,
    ONE_HOT,
    PREDICTED,
    PREFIXED,
    SINGLE,
    SUFFIXED,
    VECTOR,
    plain_name,
)
from candor.predictions.errors import ColumnsUnclear

NO_GROUP: Final = "none"

Kind = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class ClassColumn:
    """A column of one class: its name in the table, and the class."""

    column: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ColumnWishes:
    """What the caller says the columns are; None where names decide.

    `scores` may use `*`. `group` is NO_GROUP if each row stands alone; `group_pattern` finds the
    group in the names of files.
    """

    label: str | None = None
    predicted: str | None = None
    confidence: str | None = None
    correct: str | None = None
    group: str | None = None
    group_pattern: str | None = None
    scores: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, kw_only=True)
class TableColumns:
    """What each column is.

    Attributes:
        label, predicted, confidence, correct, group: columns; None if the table has none.
        scores: one column per class, in the order of the table. A single one is the score of one
            class of two.
        vector: a column that holds the scores of all classes, as a list or by class name.
        one_hot: true labels as one column of 0 and 1 per class.
        looked_for: the findings that were looked for in each row, as a list.
        group_pattern: what finds the group in the cells of `group`; None if these are the groups.
        kind: what the scores are, if the names or the caller say so.
        ids: columns that identify a row; `unused`: all others.
        repeated: rows whose file an earlier row names.
    """

    label: str | None = None
    predicted: str | None = None
    confidence: str | None = None
    correct: str | None = None
    group: str | None = None
    group_pattern: str | None = None
    scores: tuple[ClassColumn, ...] = ()
    vector: str | None = None
    one_hot: tuple[ClassColumn, ...] = ()
    looked_for: str | None = None
    kind: Kind | None = None
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
            (self.kind or "scores of classes", some(scores, 6) or self.vector),
            ("group", self.group),
            ("ids", ", ".join(self.ids)),
            ("not used", ", ".join(self.unused)),
        ]
        return [(role, columns) for role, columns in pairs if columns]


def find_columns(
    names: Sequence[str], wishes: ColumnWishes | None = None, *, labels: Iterable[str] = ()
) -> TableColumns:
    """Map the columns of a table by their names.

    Args:
        wishes: what the caller says.
        labels: names of classes, as the label column or a calibrator has them; columns with such
            names, whatever their case, are scores of these classes.

    Raises ColumnsUnclear if a wish names no column, or two columns could be the label, the
    confidence or the like.

    >>> found = find_columns(["file", "p_normal", "p_ill", "label"])
    >>> found.label, [each.name for each in found.scores], found.ids
    ('label', ['normal', 'ill'], ('file',))
    """
    wanted = wishes or ColumnWishes()
    wished = (wanted.label, wanted.predicted, wanted.confidence, wanted.correct, wanted.group)
    left = [name for name in names if name not in wished]
    one = _Taker(left, names)
    label = one.take(wanted.label, LABEL, "true label", "--label")
    predicted = one.take(wanted.predicted, PREDICTED, "predicted class", "--predicted")
    confidence = one.take(wanted.confidence, CONFIDENCE, "confidence", "--confidence")
    correct = one.take(wanted.correct, CORRECT, "correctness", "--correct")
    looked_for = next((name for name in left if plain_name(name) == LOOKED_FOR), None)
    called = (*labels, *(each.name for each in (() if label else _one_hot(left))))
    named = {plain_name(each) or each for each in called if each}
    vector, scores, kind = _scores(left, wanted, named)
    label, one_hot = _truths(left, label, scores)
    for each in (*(column.column for column in (*scores, *one_hot)), vector, looked_for, label):
        if each in left:
            left.remove(each)
    ids = tuple(name for name in left if plain_name(name) in IDS.split() or not name)
    group = _group(one, wanted.group, [name for name in left if name not in ids])
    return TableColumns(
        label=label,
        predicted=predicted,
        confidence=confidence,
        correct=correct,
        group=group,
        scores=scores,
        vector=vector,
        one_hot=one_hot,
        looked_for=looked_for,
        kind=kind,
        ids=ids,
        unused=tuple(name for name in left if name not in (*ids, group)),
    )


def around_labels(columns: TableColumns, labels: Iterable[str]) -> TableColumns:
    """Take unused columns whose names are the same around the name of a class as its scores.

    >>> columns = TableColumns(unused=("row no.", "score of ill [%]", "score of well [%]"))
    >>> [each.name for each in around_labels(columns, ["well", "ill"]).scores]
    ['ill', 'well']
    """
    classes = {plain_name(each) or each: each for each in labels if each}
    alike: dict[tuple[str, ...], list[ClassColumn]] = {}
    for column in columns.unused:
        words = (plain_name(column) or column).split("_")
        for start, end in combinations(range(len(words) + 1), 2):
            if name := classes.get("_".join(words[start:end])):
                around = (*words[:start], "", *words[end:])
                alike.setdefault(around, []).append(ClassColumn(column, name))
    around = max(alike, key=lambda each: len(alike[each]), default=())
    scores = alike.pop(around, [])
    if len(scores) < 2:
        return columns
    _require_one_family([(None, scores), *((None, others) for others in alike.values())])
    kind: Kind = "logits" if {"log", "logit", "logits"} & {*around} else "probabilities"
    taken = {each.column for each in scores}
    unused = tuple(name for name in columns.unused if name not in taken)
    return replace(columns, scores=tuple(scores), kind=kind, unused=unused)


def _group(one: "_Taker", wish: str | None, left: Sequence[str]) -> str | None:
    if wish == NO_GROUP and wish not in one.names:
        return None
    return group_column(left) if wish is None else one.take(wish, "", "group", "--group")


@dataclass(frozen=True)
class _Taker:
    """Takes columns out of `left`, by wish or by name."""

    left: list[str]
    names: Sequence[str]

    def take(self, wish: str | None, known: str, what: str, option: str) -> str | None:
        if wish is not None:
            if wish not in self.names:
                raise ColumnsUnclear(
                    f"{option} {wish}: there is no such column; the table has {_listed(self.names)}"
                )
            return wish
        found = [name for name in self.left if plain_name(name) in known.split()]
        named = option.removeprefix("--")  # the role itself, before what only resembles it
        if named in found:
            found = [named]
        if len(found) > 1:
            raise ColumnsUnclear(
                f"the columns {_listed(found)} could each be the {what}: name it with {option} "
                "COLUMN"
            )
        if found:
            self.left.remove(found[0])
        return found[0] if found else None


def _scores(
    left: Sequence[str], wishes: ColumnWishes, labels: set[str]
) -> tuple[str | None, tuple[ClassColumn, ...], Kind | None]:
    if wishes.scores is not None:
        return _wished(left, wishes)
    vectors = [name for name in left if plain_name(name) in VECTOR.split()]
    for name in vectors:
        if plain_name(name) != "logits" or len(vectors) == 1:
            return name, (), wishes.kind or ("logits" if plain_name(name) == "logits" else None)
    families = [(kind, found) for kind, found in _families(left) if len(found) > 1]
    if families:
        _require_one_family(families)
        kind, found = families[0]
        return None, found, wishes.kind or kind
    named = tuple(ClassColumn(name, name) for name in left if (plain_name(name) or name) in labels)
    numbered = tuple(ClassColumn(name, name) for name in left if NUMBERED.fullmatch(name))
    if len(named) > 1 or len(numbered) > 1:
        return None, named if len(named) > 1 else numbered, wishes.kind
    single = [ClassColumn(name, "") for name in left if plain_name(name) in SINGLE.split()]
    single += [found[0] for _, found in _families(left) if len(found) == 1]
    if len(single) > 1:
        listed = _listed([each.column for each in single])
        raise ColumnsUnclear(
            f"the columns {listed} could each be a probability: name them with --probabilities "
            "COLUMNS"
        )
    return None, tuple(single), wishes.kind


def _families(left: Sequence[str]) -> list[tuple[Kind | None, tuple[ClassColumn, ...]]]:
    """Columns that share a prefix or suffix such as `p_`; probabilities before logits."""
    families: dict[str, list[ClassColumn]] = {}
    for name in (each for each in left if plain_name(each) not in (*IDS.split(), *SINGLE.split())):
        found = PREFIXED.fullmatch(name) or JOINED.fullmatch(name) or SUFFIXED.fullmatch(name)
        if found:
            families.setdefault(found["kind"].casefold(), []).append(
                ClassColumn(name, found["name"].strip())
            )
    ordered = sorted(families.items(), key=lambda pair: (pair[0] in LOGITS, -len(pair[1])))
    return [("logits" if kind in LOGITS else None, tuple(columns)) for kind, columns in ordered]


def _require_one_family(families: Sequence[tuple[Kind | None, Sequence[ClassColumn]]]) -> None:
    """Refuse probabilities of the same classes twice, such as before and after calibration."""
    alike = [
        found
        for kind, found in families
        if kind is None and {each.name for each in found} == {each.name for each in families[0][1]}
    ]
    if len(alike) > 1:
        first, second = (_listed([each.column for each in found]) for found in alike[:2])
        raise ColumnsUnclear(
            f"{first} and {second} could each be the probabilities of the classes: name them with "
            "--probabilities COLUMNS"
        )


def _wished(
    left: Sequence[str], wishes: ColumnWishes
) -> tuple[str | None, tuple[ClassColumn, ...], Kind | None]:
    found: list[str] = []
    for part in (each.strip() for each in (wishes.scores or "").split(",")):
        matches = [name for name in left if name == part] or [
            name for name in left if fnmatchcase(name, part)
        ]
        if not matches:
            raise ColumnsUnclear(f"no column is {part!r}; the table has {_listed(left)}")
        found += [name for name in matches if name not in found]
    if len(found) == 1 and plain_name(found[0]) in VECTOR.split():
        return found[0], (), wishes.kind
    return None, tuple(ClassColumn(name, _class_of(name, found)) for name in found), wishes.kind


def _class_of(name: str, chosen: Sequence[str]) -> str:
    """The class that a column's name names; empty for a single column that names none."""
    match = PREFIXED.fullmatch(name) or JOINED.fullmatch(name) or SUFFIXED.fullmatch(name)
    if match:
        return match["name"].strip()
    return name if len(chosen) > 1 else ""


def _truths(
    left: Sequence[str], label: str | None, scores: Sequence[ClassColumn]
) -> tuple[str | None, tuple[ClassColumn, ...]]:
    """The column of true classes, or one for each class: called so, or as the class itself."""
    if label is not None:
        return label, ()
    classes = {plain_name(each.name) for each in scores if each.name}
    marked = _one_hot([name for name in left if name not in {each.column for each in scores}])
    if marked and (not classes or classes & {plain_name(each.name) for each in marked}):
        return None, marked
    called = {plain_name(each.name) for each in scores if each.name and each.name != each.column}
    same = tuple(ClassColumn(name, name) for name in left if plain_name(name) in called)
    return (same[0].column, ()) if len(same) == len(scores) == 1 else (None, same)


def _one_hot(left: Sequence[str]) -> tuple[ClassColumn, ...]:
    found = [
        (name, next((match for each in ONE_HOT if (match := each.fullmatch(name))), None))
        for name in left
    ]
    columns = tuple(ClassColumn(name, match["name"].strip()) for name, match in found if match)
    return columns if len(columns) > 1 else ()


def _listed(names: Sequence[str]) -> str:
    return some([repr(name) for name in names], 12) or "no columns"
