"""The columns of an uploaded table: the field that each is sent as, and what is not sent.

The fields keep their names. Scores are found as everywhere (`candor.predictions.columns`), and an
option names any other column.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from calibration.findings.labels import ALL, LOOKED_FOR, SEPARATOR
from calibration.wording import parameter
from candor.predictions.columns import ClassColumn, ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.image_files import FILES, FileIdRule, file_id
from candor.predictions.row_groups import cells_in, group_of, with_groups, with_patients

ANSWER: Final = (*FILES, "prediction_id", "request_id")  # columns that name the answer of a label
_ROLES: Final = ("label", "predicted", "confidence")
_NAMES: Final = ("prediction_id", "request_id", "model")
# of `candor predict --csv`, which need not be told
_KNOWN: Final = ("refer", "prediction_set", "calibrator", "error", "frame", *FILES)


@dataclass(frozen=True)
class UploadColumns:
    """Where each field of an item comes from.

    Attributes:
        columns: what each column was taken for.
        sources: the column of each field that has one of its own.
        unknown: columns that are not sent, and that no answer of Candor has.
        fields: all that the server knows.
        scores: the field that columns of scores become: `probabilities` or `findings`.
        labels: the column of each finding's label.
    """

    columns: TableColumns
    sources: Mapping[str, str]
    unknown: tuple[str, ...]
    fields: frozenset[str]
    scores: str = "probabilities"
    labels: Mapping[str, str] = field(default_factory=dict)

    def item(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a row that have a value, with class columns if they are needed."""
        found = {field: row[column] for field, column in self.sources.items() if column in row}
        if isinstance(found.get("label"), Mapping):  # `labels` of .ndjson, by finding
            found["labels"] = found.pop("label")
        labels = {name: row[column] for name, column in self.labels.items() if column in row}
        found |= {"labels": labels} if self.labels else {}  # {}: nothing is known of this image
        if LOOKED_FOR in self.sources and "labels" not in found:
            found.setdefault(LOOKED_FOR, "")  # nor of one in which nobody looked for anything
        if "patient" in found:
            found["patient"] = group_of(row, self.columns)
        taken = {*self.sources.values(), *self.sources}
        found |= {
            name: value for name, value in row.items() if name in self.fields and name not in taken
        }
        if self.sends_scores and self.scores not in found:
            scores = {
                each.name: row[each.column] for each in self.columns.scores if each.column in row
            }
            return found | ({self.scores: _numbers(scores)} if scores else {})
        return found

    @property
    def sends_scores(self) -> bool:
        """Whether the columns of classes are sent: nothing else says how sure the answer was."""
        named = set(self.sources)
        if self.scores == "findings":
            return bool(self.columns.scores) and "finding" not in named
        return (
            len(self.columns.scores) > 1
            and "probabilities" not in named
            and not {"predicted", "confidence"} <= named
        )

    def with_labels(self, labels: Mapping[str, str]) -> "UploadColumns":
        """Return the same for a table whose labels are these columns, by finding."""
        sources = {field: column for field, column in self.sources.items() if field != "label"}
        columns = replace(self.columns, label=None)
        unknown = tuple(name for name in self.unknown if name not in labels.values())
        return replace(self, columns=columns, sources=sources, unknown=unknown, labels=labels)

    def told(self) -> list[str]:
        """What a reader would not expect: columns of other names, and those not sent."""
        lines = [
            f"{field}: from the column {column!r}"
            for field, column in self.sources.items()
            if field != column
        ]
        if self.sends_scores:
            lines.append(
                f"{self.scores}: from {_listed(each.column for each in self.columns.scores)}"
            )
        if moved := [column for name, column in self.labels.items() if name != column]:
            lines.append(f"labels: from {_listed(moved)}")
        return [*lines, f"not sent: {', '.join(self.unknown)}"] if self.unknown else lines


def prediction_columns(
    names: Sequence[str],
    fields: Collection[str],
    wishes: ColumnWishes,
    *,
    file: Path | None = None,
    findings: Sequence[str] = (),
) -> UploadColumns:
    """Map the columns of a table of answers; `file` is asked which of its rows belong together.

    Each of the model's `findings` may have a column of scores and one of labels.

    Raises PredictionsRefused: it is open what a column is, or whether it names patients, or a
    finding has no scores though others have.

    >>> fields = ["request_id", "label", "predicted", "confidence"]
    >>> names = ["request_id", "pred", "confidence", "truth"]
    >>> wishes = ColumnWishes(label="truth", predicted="pred")
    >>> sources = prediction_columns(names, fields, wishes).sources
    >>> sources["label"], sources["predicted"]
    ('truth', 'pred')
    """
    columns = find_columns(names, wishes, labels=findings)
    if file is not None:
        columns = with_groups(file, partial(cells_in, file), columns, wishes, known=fields)
    own = {*_ROLES, columns.label}
    sources = {name: name for name in names if name in fields and name not in own}
    sources |= {role: column for role in _ROLES if (column := getattr(columns, role)) is not None}
    if wishes.scores and len(columns.scores) == 1 and not findings:
        sources["probabilities"] = columns.scores[0].column
    if columns.group and "patient" in fields:
        sources["patient"] = columns.group
    found = UploadColumns(columns, sources, (), frozenset(fields))
    if findings:
        found = _of_findings(found, findings)
    said = {"predicted", "probabilities", "finding"} & set(sources) or found.sends_scores
    if "confidence" in sources and not said:
        raise PredictionsRefused(
            "a confidence needs the predicted class beside it: name its column with "
            f"{parameter('predicted')}"
        )
    return replace(found, unknown=_unknown(names, found))


def label_columns(
    names: Sequence[str],
    fields: Collection[str],
    wishes: ColumnWishes,
    *,
    file: Path | None = None,
) -> UploadColumns:
    """Map the columns of a table of labels; `file` is asked for the patients of its rows.

    Raises PredictionsRefused: what a column is is open, or whether it names patients.
    """
    columns = find_columns(names, wishes)
    if file is not None:
        columns = with_patients(file, partial(cells_in, file), columns, wishes, known=fields)
    own = {"label", columns.label}
    sources = {name: name for name in names if name in fields and name not in own}
    if columns.label is not None:
        sources["label"] = columns.label
    if columns.group and file is not None:
        sources["patient"] = columns.group
    found = UploadColumns(columns, sources, (), frozenset(fields))
    return replace(found, columns=replace(columns, scores=()), unknown=_unknown(names, found))


def declaration(classes: str | None, findings: str | None) -> dict[str, Any]:
    """Return the classes, or the findings with their thresholds, that a model is declared with.

    Raises ValueError if both are given, or a threshold is no number.

    >>> declaration(None, "Edema,Mass=0.3")
    {'findings': {'Edema': 0.5, 'Mass': 0.3}}
    """
    if classes is not None and findings is not None:
        raise ValueError(f"give {parameter('classes')} or {parameter('findings')}")
    if classes is not None:
        return {"classes": [name.strip() for name in classes.split(",")]}
    pairs = [each.partition("=") for each in findings.split(",")] if findings else []
    thresholds = {name.strip(): float(value or 0.5) for name, _, value in pairs}
    return {"findings": thresholds} if thresholds else {}


def wished_findings(findings: str | None) -> tuple[str | None, dict[str, str]]:
    """Return what was looked for in lists, or the columns by finding, that an option names."""
    if not findings or findings == ALL or SEPARATOR in findings:
        return findings, {}
    return None, {name.strip(): name.strip() for name in findings.split(",")}


def finding_columns(found: UploadColumns, findings: Sequence[str]) -> dict[str, str]:
    """Return the columns that may hold labels of these findings, by finding."""
    bare = tuple(ClassColumn(name, name) for name in found.unknown)
    return {each.name: each.column for each in _named((*bare, *found.columns.one_hot), findings)}


def label_item(
    fields: Mapping[str, Any], *, file: str | None, model: str | None, rule: FileIdRule
) -> dict[str, Any]:
    """Return a label as it is sent: with its prediction id if it has one, else its request id.

    Args:
        fields: of a row, those that the server knows.
        file: that the row names; it becomes the request id of a row that has none.
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


def _of_findings(found: UploadColumns, findings: Sequence[str]) -> UploadColumns:
    """The columns of a table whose model has these findings."""
    columns = found.columns
    scores, labels = (_named(each, findings) for each in (columns.scores, columns.one_hot))
    lacking = [name for name in findings if name not in {each.name for each in scores}]
    if scores and lacking:
        raise PredictionsRefused(
            f"no column holds the probability of {_listed(lacking)}; an answer needs that of each "
            "finding"
        )
    return replace(
        found,
        columns=replace(columns, scores=scores),
        scores="findings",
        labels={each.name: each.column for each in labels},
    )


def _named(columns: Iterable[ClassColumn], findings: Sequence[str]) -> tuple[ClassColumn, ...]:
    """Those of the columns that are called as a finding."""
    return tuple(each for each in columns if each.name in findings)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:6])


def _unknown(names: Sequence[str], found: UploadColumns) -> tuple[str, ...]:
    columns = found.columns
    known = {
        *found.sources.values(),
        *columns.ids,
        *_KNOWN,
        columns.predicted,
        columns.confidence,
        *found.labels.values(),
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
