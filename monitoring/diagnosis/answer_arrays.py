"""Columns of answers, as the ledger has them, as the arrays of an inference."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray, Tag
from calibration.scope.verdict import ALPHA
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import OTHER
from monitoring.ledger.watched_version import WatchedVersion

Columns = dict[str, list[Any]]  # of answers, by name


def as_answers(row: WatchedVersion, columns: Columns, values: Mapping[str, set[str]]) -> Answers:
    """The columns as arrays. `values`: of tags, that have a slice."""
    first, correct = _codes(columns["first"]), _codes(columns["correct"])
    return Answers(
        served_s=seconds(columns["served_at_ns"]),
        confidence=np.array(columns["confidence"], dtype=np.float64),
        predicted=np.array(columns["predicted"], dtype=np.int64),
        correct=correct,
        classes=row.classes,
        tags=_tags(columns["tags"], values),
        patient=_patients(columns["patient"]),
        drawn=_drawn(columns["audit"]),
        first_correct=None if np.array_equal(first, correct) else first,
        probabilities=row.all_probabilities(columns),
        label=_codes(columns["label"]),
        class_shares=_class_shares(row),
        source=_named(columns["source"]),
        reader=_named(columns["reader"]),
        second=_codes(columns["second"]),
        doubtful=_doubtful(columns["scope_p"]),
        of_one=row.claim_of(EVERYTHING) is not None,
    )


def _named(values: Sequence[Any]) -> Tag:
    codes, names = _number(values)
    return Tag(codes, tuple(names))


def seconds(times_ns: Sequence[int | None]) -> FloatArray:
    """Times in seconds, from nanoseconds; NaN for None."""
    return np.array(times_ns, dtype=np.float64) / 1e9


def _codes(values: Sequence[int | None]) -> IntArray:
    numbers = np.array(values, dtype=np.float64)  # None: NaN
    return np.nan_to_num(numbers, nan=-1.0).astype(np.int64)


def _number(values: Sequence[Any]) -> tuple[IntArray, list[Any]]:
    """Codes of values in the order of their first appearance; -1 for None."""
    distinct = [each for each in dict.fromkeys(values) if each is not None]
    numbers = {None: -1} | {each: number for number, each in enumerate(distinct)}
    return np.fromiter(map(numbers.__getitem__, values), np.int64, len(values)), distinct


def _tags(texts: Sequence[str | None], values: Mapping[str, set[str]]) -> dict[str, Tag]:
    codes, distinct = _number(texts)
    parsed = [msgspec.json.decode(text, type=dict[str, str]) for text in distinct]
    tags = {}
    for key, known in values.items():
        named = [_value(each.get(key), known) for each in parsed]
        of_text, names = _number(named)
        if names:
            of_answer = np.append(of_text, -1)[codes]
            tags[key] = Tag(of_answer, tuple(names))
    return tags


def _value(value: str | None, known: set[str]) -> str | None:
    return value if value is None or value in known else OTHER


def _patients(values: Sequence[Any]) -> IntArray | None:
    codes, distinct = _number(values)
    return codes if distinct else None


def _drawn(shares: Sequence[float | None]) -> "np.ndarray | None":
    drawn = ~np.isnan(np.array(shares, dtype=np.float64))
    return drawn if drawn.any() else None


def _doubtful(values: Sequence[float | None]) -> BoolArray | None:
    scope_p = np.array(values, dtype=np.float64)
    return None if np.isnan(scope_p).all() else scope_p <= ALPHA


def _class_shares(row: WatchedVersion) -> FloatArray | None:
    confusion = row.card["calibration"].get("confusion")
    if confusion is None:
        return None
    of_class = np.array(confusion, dtype=np.float64).sum(axis=1)
    return np.asarray(of_class / of_class.sum()) if of_class.sum() else None
