"""The columns of an uploaded table: the field that each is sent as, and what is not sent.

The fields keep their names. A column of another name is mapped as everywhere
(`candor.predictions.columns`), and said.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import ColumnsUnclear
from candor.predictions.image_files import FILE, FileIdRule, file_id

ANSWER: Final = (FILE, "prediction_id", "request_id")  # columns that name the answer of a label
_ROLES: Final = ("label", "predicted", "confidence")
_NAMES: Final = ("prediction_id", "request_id", "model")
_KNOWN: Final = (
    "refer",
    "prediction_set",
    "error",
    "file",
    "frame",
)  # of `candor predict --csv`, which need not be told


@dataclass(frozen=True)
class UploadColumns:
    """Where each field of an item comes from.

    Attributes:
        columns: what each column was taken for.
        sources: the column of each field that has one of its own.
        unknown: columns that are not sent, and that no answer of Candor has.
        fields: all that the server knows.
    """

    columns: TableColumns
    sources: Mapping[str, str]
    unknown: tuple[str, ...]
    fields: frozenset[str]

    def item(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a row, those with a value; class columns become `probabilities` if
        these are needed.
        """
        found = {field: row[column] for field, column in self.sources.items() if column in row}
        taken = {*self.sources.values(), *self.sources}
        found |= {
            name: value for name, value in row.items() if name in self.fields and name not in taken
        }
        if self.sends_scores and "probabilities" not in found:
            scores = {
                each.name: row[each.column] for each in self.columns.scores if each.column in row
            }
            return found | ({"probabilities": _numbers(scores)} if scores else {})
        return found

    @property
    def sends_scores(self) -> bool:
        """Whether the columns of classes are sent: where nothing else says how sure the answer
        was.
        """
        named = set(self.sources)
        return (
            len(self.columns.scores) > 1
            and "probabilities" not in named
            and not {"predicted", "confidence"} <= named
        )

    def told(self) -> list[str]:
        """What a reader would not expect: fields from columns of other names, and columns that are
        not sent.
        """
        lines = [
            f"{field}: from the column {column!r}"
            for field, column in self.sources.items()
            if field != column
        ]
        if self.sends_scores:
            lines.append(
                f"probabilities: from {', '.join(each.column for each in self.columns.scores[:6])}"
            )
        return lines + ([f"not sent: {', '.join(self.unknown)}"] if self.unknown else [])


def prediction_columns(
    names: Sequence[str], fields: Collection[str], wishes: ColumnWishes
) -> UploadColumns:
    """Map the columns of a table of answers. Raises ColumnsUnclear.

    >>> fields = ["request_id", "label", "predicted", "confidence"]
    >>> names = ["request_id", "pred", "confidence", "truth"]
    >>> sources = prediction_columns(names, fields, ColumnWishes()).sources
    >>> sources["label"], sources["predicted"]
    ('truth', 'pred')
    """
    columns = find_columns(names, wishes)
    sources = {name: name for name in names if name in fields and name not in _ROLES}
    sources |= {role: column for role in _ROLES if (column := getattr(columns, role)) is not None}
    if columns.vector:
        sources["probabilities"] = columns.vector
    found = UploadColumns(columns, sources, (), frozenset(fields))
    said = {"predicted", "probabilities"} & set(sources) or found.sends_scores
    if "confidence" in sources and not said:
        raise ColumnsUnclear(
            "a confidence needs the predicted class beside it: name its column with --predicted"
        )
    return replace(found, unknown=_unknown(names, found))


def label_columns(
    names: Sequence[str], fields: Collection[str], wishes: ColumnWishes
) -> UploadColumns:
    """Map the columns of a table of labels. Raises ColumnsUnclear."""
    columns = find_columns(names, wishes)
    sources = {name: name for name in names if name in fields and name != "label"}
    if columns.label is not None:
        sources["label"] = columns.label
    found = UploadColumns(columns, sources, (), frozenset(fields))
    return replace(found, columns=replace(columns, scores=()), unknown=_unknown(names, found))


def label_item(
    row: Mapping[str, Any], *, fields: Collection[str], model: str | None, rule: FileIdRule
) -> dict[str, Any]:
    """Return the label of one row: the answer by its prediction id if the row has one, else by
    model and request id.

    Args:
        row: the columns of a table, those with values.
        fields: the fields that the server knows; other columns are left out.
        model: the model of a row that names none.
        rule: how the column `file` becomes a request id.

    >>> row = {"file": "ward-3/scan.png", "label": "normal", "remark": "seen twice"}
    >>> label_item(row, fields=("label", "request_id"), model="chest", rule=FileIdRule.FILENAME)
    {'label': 'normal', 'request_id': 'scan.png', 'model': 'chest'}
    """
    item = {name: value for name, value in row.items() if name in fields and name not in _NAMES}
    if "prediction_id" in row:
        return item | {"prediction_id": row["prediction_id"]}
    request_id = row.get("request_id") or (file_id(str(row[FILE]), rule) if FILE in row else None)
    named = {"request_id": request_id, "model": row.get("model") or model}
    return item | {name: value for name, value in named.items() if value is not None}


def _unknown(names: Sequence[str], found: UploadColumns) -> tuple[str, ...]:
    columns = found.columns
    known = {
        *found.sources.values(),
        *columns.ids,
        *_KNOWN,
        columns.predicted,
        columns.confidence,
        columns.vector,
    }
    known |= {each.column for each in columns.scores} | {"model", "version"}
    return tuple(name for name in names if name not in known)


def _numbers(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Cells as numbers; what is none stays as it is, and the server says so."""
    found: dict[str, Any] = dict(scores)
    for name, value in scores.items():
        with suppress(TypeError, ValueError):
            found[name] = float(value)
    return found
