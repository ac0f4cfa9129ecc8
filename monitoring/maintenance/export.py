"""The ledger as a table for other programs: one row per answer with its current label, as Parquet
or CSV, streamed. An image with findings has a row for each, with the image's id.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, func, select

from model_store.csv_cells import CsvTable
from model_store.installation import install_command
from monitoring.errors import LedgerCopyRefused, ModelNotInLedger
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.schema import feedback, prediction
from monitoring.ledger.watched_version import CountsAs, WatchedVersion
from monitoring.maintenance import Progress, silent
from monitoring.patient_id import as_text

COLUMNS = (
    "prediction_id",
    "model",
    "version",
    "finding",
    "request_id",
    "served_at",
    "predicted",
    "confidence",
    "probabilities",
    "tags",
    "audit",
    "patient",
    "scope_p",
    "label",
    "correct",
    "source",
    "reader",
    "observed_at",
    "labeled_at",
    "revision",
)
_PORTION = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_Write = Callable[[Sequence[tuple[Any, ...]]], None]


def export(
    ledger: Ledger, file: Path, *, model: str | None = None, progress: Progress = silent
) -> int:
    """Write one row per answer, oldest first; return how many. An existing file is replaced once
    all is written.

    `.parquet` needs pyarrow; `.csv` writes lists and tags as JSON, and marks what a spreadsheet
    would execute (model_store.csv_cells). `label`, `source`, `reader` and `observed_at` are of the
    latest label that counts as truth, `labeled_at` is of the first.

    Raises LedgerCopyRefused for another suffix, or without pyarrow; ModelNotInLedger if `model` is
    not in the ledger.
    """
    draft = file.with_name(f".{file.name}.part")
    try:
        with ledger.survey() as connection, _opened(file, draft) as write:
            count = _copy(connection, write, model, progress)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _copy(connection: Connection, write: _Write, model: str | None, progress: Progress) -> int:
    known = versions.load_all(connection)
    chosen = [
        row.watched_version_id for row in known.values() if model is None or row.model == model
    ]
    if model is not None and not chosen:
        raise ModelNotInLedger(model, known=versions.models(connection))
    among = prediction.c.watched_version_id.in_(chosen)
    total = connection.scalar(select(func.count()).where(among)) or 0
    done = 0
    wanted = _wanted().where(among).order_by(prediction.c.prediction_id)
    for rows in connection.execute(wanted.execution_options(yield_per=_PORTION)).partitions():
        write([_as_tuple(row, known[row.watched_version_id]) for row in rows])
        done += len(rows)
        progress("answers", done, total)
    return done


def _wanted() -> Any:
    first, latest = feedback.alias("first"), feedback.alias("latest")
    latest_id = (
        select(func.max(feedback.c.feedback_id))
        .where(
            feedback.c.feedback_id >= prediction.c.first_feedback_id,
            feedback.c.prediction_id == prediction.c.prediction_id,
            feedback.c.counts_as == CountsAs.TRUTH,
        )
        .correlate(prediction)
        .scalar_subquery()
    )
    corrected = prediction.c.revision > 0  # only then there is a later label
    joined = prediction.outerjoin(
        first, first.c.feedback_id == prediction.c.first_feedback_id
    ).outerjoin(latest, corrected & (latest.c.feedback_id == latest_id))
    return select(
        prediction,
        first.c.received_at_ns.label("labeled_at_ns"),
        *(
            case((corrected, latest.c[name]), else_=first.c[name]).label(name)
            for name in ("source", "reader", "observed_at_ns")
        ),
    ).select_from(joined)


def _as_tuple(row: Any, known: WatchedVersion) -> tuple[Any, ...]:
    return (
        str(UUID(bytes=finding_id(row.prediction_id, known.finding))),
        known.model,
        known.version,
        known.named,
        row.request_id,
        _moment(row.served_at_ns),
        known.classes[row.predicted],
        row.confidence,
        known.probabilities(row).tolist(),
        row.tags,
        row.audit,
        as_text(row.patient),
        row.scope_p,
        None if row.label is None else known.classes[row.label],
        None if row.label is None else row.label == row.predicted,
        row.source,
        row.reader,
        _moment(row.observed_at_ns),
        _moment(row.labeled_at_ns),
        row.revision,
    )


def _moment(at_ns: int | None) -> datetime | None:
    return None if at_ns is None else _EPOCH + timedelta(microseconds=at_ns // 1000)


@contextmanager
def _opened(file: Path, draft: Path) -> Iterator[_Write]:
    if file.suffix == ".csv":
        with draft.open("w", newline="", encoding="utf-8") as stream:
            table = CsvTable(stream)
            table.writerow(COLUMNS)
            yield lambda rows: table.writerows([_plain(value) for value in row] for row in rows)
    elif file.suffix == ".parquet":
        with _parquet(draft) as write:
            yield write
    else:
        raise LedgerCopyRefused(f"The file's name must end in .parquet or .csv; got {file.name}.")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | bool):
        return json.dumps(value)
    return value


@contextmanager
def _parquet(draft: Path) -> Iterator[_Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        how = f"write to a .csv, or install it with: {install_command('parquet')}"
        raise LedgerCopyRefused(f"Parquet needs pyarrow; {how}") from error
    moment, text = pa.timestamp("us", tz="UTC"), pa.string()
    kinds = dict.fromkeys(COLUMNS, text)
    kinds |= {
        "version": pa.int32(),
        "revision": pa.int32(),
        "confidence": pa.float64(),
        "audit": pa.float64(),
    }
    kinds |= {"served_at": moment, "observed_at": moment, "labeled_at": moment}
    kinds |= {"probabilities": pa.list_(pa.float32()), "correct": pa.bool_()}
    schema = pa.schema(list(kinds.items()))

    def write(rows: Sequence[tuple[Any, ...]]) -> None:
        columns = zip(kinds.values(), zip(*rows, strict=True), strict=True)
        arrays = [pa.array(list(column), type=kind) for kind, column in columns]
        writer.write_batch(pa.record_batch(arrays, schema=schema))

    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        yield write
