"""Rows of a table of labels, as POST /feedback takes them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from serving.client.file_ids import FileIdRule, SameFileId, file_id

FILE = "file"  # a column of ours: the image's file, whose name is the request id
ANSWER = (FILE, "prediction_id", "request_id")  # columns that name the answer
_NAMES = ("prediction_id", "request_id", "model")


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


def require_distinct_rows(rows: Iterable[Mapping[str, Any]], rule: FileIdRule) -> None:
    """Raise SameFileId if rows of different files would name one answer, so that it would get the
    label of another.

    The same file in several rows is a correction. Only rows whose column `file` names the answer
    are looked at.
    """
    if rule is FileIdRule.PATH:
        return
    seen: dict[tuple[Any, str], str] = {}
    for row in rows:
        if FILE not in row or "prediction_id" in row or "request_id" in row:
            continue
        key = file_id(str(row[FILE]), rule)
        path = file_id(str(row[FILE]), FileIdRule.PATH)
        first = seen.setdefault((row.get("model"), key), path)
        if first != path:
            raise SameFileId(
                f"{first} and {path} would both label the answer with the request id {key!r}: "
                "send images and labels "
                "with --request-id path"
            )
