"""A subgroup to recalibrate alone: the answers whose tag has one of some values."""

import json
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BIN_COUNT, bin_index
from calibration.diagnosis.facts import AnswerGroup
from model_store.errors import TagsInvalid
from model_store.tags import is_key
from monitoring.diagnosis.phrases import answers_of
from monitoring.drift.tag_settings import slice_of, tag_of
from monitoring.errors import brief
from monitoring.ledger.schema import IS_LABELED, prediction
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.recalibration.representative import (
    LabeledShare,
    UnevenLabels,
    compare_shares,
    shares_by_bin,
)

LATEST_NS = 2**63 - 1
PREDICTED = "predicted"  # the key of a group of answers that name a class


def read_group(text: str) -> AnswerGroup:
    """Read one or several values of one tag. Raises TagsInvalid.

    >>> read_group("site=B, site=E")
    AnswerGroup(key='tag:site', values=('B', 'E'), within=None)
    """
    pairs = [each.partition("=") for each in text.split(",")]
    keys = {key.strip() for key, _, _ in pairs}
    values = tuple(sorted({value.strip() for _, _, value in pairs}))
    key = keys.pop()
    if keys or not is_key(key) or not all(values):
        raise TagsInvalid(
            f"a subgroup is one value of a tag, or several of one tag, as site=B,site=E; got "
            f"{brief(text)}."
        )
    return AnswerGroup(slice_of(key), values)


def name_of(group: AnswerGroup) -> str:
    """Return the group as in a sentence.

    >>> name_of(AnswerGroup("tag:site", ("B", "E"))), name_of(AnswerGroup("predicted", ("ill",)))
    ('site=B, site=E', 'answers of "ill"')
    """
    if group.key == PREDICTED:
        return ", ".join(map(answers_of, group.values))
    return ", ".join(f"{tag_of(group.key)}={value}" for value in group.values)


def belongs(tags: str | None, group: AnswerGroup) -> bool:
    """Return whether an answer with these tags, as in the ledger, is in the group."""
    return tags is not None and json.loads(tags).get(tag_of(group.key)) in group.values


def served_in(
    connection: Connection,
    watched_version_id: int,
    group: AnswerGroup,
    *,
    since_ns: int,
    until_ns: int,
) -> list[Any]:
    """Return the group's answers of a time: `predicted`, `confidence`, `audit`, `labeled`."""
    columns = prediction.c
    answer = (columns.predicted, columns.confidence, columns.audit, columns.tags)
    wanted = select(*answer, IS_LABELED.label("labeled")).where(
        columns.watched_version_id == watched_version_id,
        columns.served_at_ns.between(since_ns, until_ns),
        columns.tags.is_not(None),
    )
    return [row for row in connection.execute(wanted) if belongs(row.tags, group)]


def find_uneven_labels_in(
    connection: Connection, row: WatchedVersion, group: AnswerGroup, *, since_ns: int | None
) -> UnevenLabels | None:
    """Compare the shares of the group's labeled answers by class and confidence."""
    span = {"since_ns": since_ns or 0, "until_ns": LATEST_NS}
    served = served_in(connection, row.watched_version_id, group, **span)
    predicted = np.array([each.predicted for each in served], dtype=np.int64)
    bins = bin_index(np.array([each.confidence for each in served], dtype=np.float64))
    labeled = np.array([each.labeled for each in served], dtype=bool)
    shares: list[LabeledShare] = []
    for number, name in enumerate(row.classes):
        inside = predicted == number
        counts, with_label = (
            np.bincount(bins[chosen], minlength=BIN_COUNT) for chosen in (inside, inside & labeled)
        )
        shares += shares_by_bin(name, with_label, counts)
    return compare_shares(shares)
