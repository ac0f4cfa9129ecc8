"""The columns of an uploaded table: the field that each is sent as, and what is not sent.

The fields keep their names. A column of another name is mapped as everywhere
(`candor.predictions.columns`), and said.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from calibration.grouping import group_column
from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import ColumnsUnclear
from candor.predictions.image_files import FILE, FileIdRule, file_id
from candor.predictions.row_groups import group_of, with_groups

ANSWER: Final = (FILE, "prediction_id", "request_id")  # columns that name the answer of a label
_ROLES: Final = ("label", "predicted", "confidence")
_NAMES: Final = ("prediction_id", "request_id", "model")
# of `candor predict --csv`, which need not be told
_KNOWN: Final = ("refer", "prediction_set", "calibrator", "error", "file", "frame")


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
        """Return the fields of a row that have a value, with class columns if they are needed."""
        found = {field: row[column] for field, column in self.sources.items() if column in row}
        if "patient" in found:
            found["patient"] = group_of(row, self.columns)
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
        """Whether the columns of classes are sent: nothing else says how sure the answer was."""
        named = set(self.sources)
        return (
            len(self.columns.scores) > 1
            and "probabilities" not in named
            and not {"predicted", "confidence"} <= named
        )

    def without_labels(self, findings: Collection[str]) -> "UploadColumns":
        """Return the same for a table whose columns of `findings` are the labels."""
        sources = {field: column for field, column in self.sources.items() if field != "label"}
        columns = replace(self.columns, label=None)
        unknown = tuple(name for name in self.unknown if name not in findings)
        return replace(self, columns=columns, sources=sources, unknown=unknown)

    def told(self) -> list[str]:
        """What a reader would not expect: columns of other names, and those not sent."""
        lines = [
            f"{field}: from the column {column!r}"
            for field, column in self.sources.items()
            if field != column
        ]
        if self.sends_scores:
            lines.append(
                f"probabilities: from {', '.join(each.column for each in self.columns.scores[:6])}"
            )
        if not self.unknown:
            return lines
        later = group_column(self.unknown) is not None and "patient" not in self.fields
        why = " (a patient is sent with the answer, not with its label)" if later else ""
        return [*lines, f"not sent: {', '.join(self.unknown)}{why}"]


def prediction_columns(
    names: Sequence[str], fields: Collection[str], wishes: ColumnWishes, *, file: Path | None = None
) -> UploadColumns:
    """Map the columns of a table of answers; `file` is asked which of its rows belong together.

    Raises:
        ColumnsUnclear: what a column is is open, or whether it names patients.

    >>> fields = ["request_id", "label", "predicted", "confidence"]
    >>> names = ["request_id", "pred", "confidence", "truth"]
    >>> sources = prediction_columns(names, fields, ColumnWishes()).sources
    >>> sources["label"], sources["predicted"]
    ('truth', 'pred')
    """
    columns = find_columns(names, wishes)
    if file is not None:
        columns = with_groups(file, columns, wishes, known=fields)
    sources = {name: name for name in names if name in fields and name not in _ROLES}
    sources |= {role: column for role in _ROLES if (column := getattr(columns, role)) is not None}
    if columns.vector:
        sources["probabilities"] = columns.vector
    if columns.group and "patient" in fields:
        sources["patient"] = columns.group
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
    fields: Mapping[str, Any], *, file: str | None, model: str | None, rule: FileIdRule
) -> dict[str, Any]:
    """Return a label as it is sent: with its prediction id if it has one, else its request id.

    Args:
        fields: of a row, those that the server knows.
        file: the cell of the column `file`; it becomes the request id of a row that has none.
        model: the model of a row that names none.
        rule: how a file becomes a request id.

    >>> label_item({"label": "ill"}, file="a/scan.png", model="chest", rule=FileIdRule.FILENAME)
    {'label': 'ill', 'request_id': 'scan.png', 'model': 'chest'}
    """
    item = {name: value for name, value in fields.items() if name not in _NAMES}
    if "prediction_id" in fields:
        return item | {"prediction_id": fields["prediction_id"]}
    request_id = fields.get("request_id") or (None if file is None else file_id(str(file), rule))
    named = {"request_id": request_id, "model": fields.get("model") or model}
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
