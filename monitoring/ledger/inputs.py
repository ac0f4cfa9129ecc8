"""Brightness of the inputs, summed by version and UTC day: the source of an early warning
without labels.

Sums are integers in units of 2^-16 gray levels, exact in any order. The figures of single images
are not kept, so an erasure cannot subtract them: it deletes the sums of the day.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import BigInteger, Connection, cast, delete, func, select

from monitoring.ledger.schema import input_day
from monitoring.ledger.statement import adding

_UNIT = 2.0**-16
_ADD = adding(input_day)
_SUMS = tuple(column for column in input_day.columns if not column.primary_key)


class InputSums(NamedTuple):
    """What a batch adds to a day, in the order and the units of the table's columns."""

    watched_version_id: int
    day: int
    sums: tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """Gray levels of `n` inputs: means over images, standard deviations between them.

    `trained_on`: how many of them the model has seen in training.
    """

    n: int
    mean: float
    mean_sd: float
    contrast: float
    contrast_sd: float
    trained_on: int = 0


def input_sums(
    watched_version_id: int, day: int, measured: npt.NDArray[np.float64], *, trained_on: int = 0
) -> InputSums:
    """Sum mean and contrast, (N, 2) as of `model_store.image.brightness`.

    `trained_on`: how many of the images the model has seen in training.
    """
    values = np.rint(measured / _UNIT) * _UNIT
    sums, squares = (
        np.rint(each / _UNIT).sum(axis=0).tolist() for each in (values, values * values)
    )
    (mean, contrast), (mean_squared, contrast_squared) = sums, squares
    levels = (int(mean), int(mean_squared), int(contrast), int(contrast_squared))
    return InputSums(watched_version_id, day, (len(measured), *levels, trained_on))


def add_inputs(connection: Connection, batches: Iterable[InputSums], *, shard: int = 0) -> None:
    """Add batches to their days in the order of the key, so that writers cannot deadlock."""
    totals: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * len(_SUMS))
    for batch in batches:
        total = totals[batch.watched_version_id, batch.day]
        for index, value in enumerate(batch.sums):
            total[index] += value
    _ADD.run(connection, [(*key, shard, *totals[key]) for key in sorted(totals)])


def read_inputs(
    connection: Connection, watched_version_id: int, *, since_day: int | None = None
) -> Inputs:
    """Return the brightness of a version's inputs since that day; NaN without inputs."""
    sums = (cast(func.coalesce(func.sum(column), 0), BigInteger) for column in _SUMS)
    wanted = select(*sums).where(
        input_day.c.watched_version_id == watched_version_id, input_day.c.day >= (since_day or 0)
    )
    n, *added, trained_on = connection.execute(wanted).one()
    if not n:
        return Inputs(0, math.nan, math.nan, math.nan, math.nan)
    mean, mean_squared, contrast, contrast_squared = (value * _UNIT / n for value in added)
    return Inputs(
        n,
        mean,
        _spread(mean, mean_squared),
        contrast,
        _spread(contrast, contrast_squared),
        trained_on,
    )


def forget_inputs(connection: Connection, days: Iterable[tuple[int, int]]) -> None:
    """Delete the sums of these (watched version id, day)."""
    for watched_version_id, day in sorted(days):
        connection.execute(
            delete(input_day).filter_by(watched_version_id=watched_version_id, day=day)
        )


def _spread(mean: float, squared: float) -> float:
    return math.sqrt(max(squared - mean * mean, 0.0))
