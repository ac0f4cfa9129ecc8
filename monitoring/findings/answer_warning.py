"""An early warning from the answers: do predicted classes and confidence come from another
distribution than before?

Its state is derived anew from the day sums, which a recount checks and which outlive the answers.
Only complete days count. The mathematics and the promise are those of
`calibration.drift.answer_drift`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sqlalchemy import Connection

from calibration.bins import BIN_COUNT
from calibration.drift.answer_drift import ALPHA, AnswerDrift, follow
from calibration.wording import counted
from monitoring.drift.events import AFRESH, Event
from monitoring.findings.early_warnings import EarlyWarning, quiet
from monitoring.ledger.days import day_date, read_answers_by_day
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.versions import WatchedVersion

NAME = "answer_distribution"
CLASS_LIMIT = 16
_LIMIT = math.log(1 / ALPHA)
PROMISE = (
    "While nothing changes and answers come in random order, this is ever raised for at most 1 in "
    f"{1 / ALPHA:.0f} versions. A different mix of patients changes the answers too."
)


def find_answer_warning(
    connection: Connection, row: WatchedVersion, history: Sequence[Event], *, now_ns: int
) -> EarlyWarning:
    """Return the sign, which starts again on the day after a reset or acknowledgment."""
    if len(row.classes) > CLASS_LIMIT:
        return quiet(
            NAME,
            _LIMIT,
            f"Changes of the answers are not looked for with more than {CLASS_LIMIT} classes.",
        )
    ended = [
        event.at_ns // DAY_NS
        for event in history
        if event.kind in AFRESH and event.name == EVERYTHING
    ]
    days = read_answers_by_day(
        connection, row, since_day=max(ended, default=-1) + 1, before_day=now_ns // DAY_NS
    )
    if not days:
        return quiet(
            NAME,
            _LIMIT,
            "Changes of the answers are looked for from the first complete day (UTC) on.",
        )
    numbers, counts = zip(*days, strict=True)
    found = _followed(
        row.card_sha256, _reference(row), len(row.classes), numbers, np.stack(counts).tobytes()
    )
    return EarlyWarning(
        NAME, found.log_evalue, _LIMIT, found.raised_on is not None, _sentence(found, row.classes)
    )


def _reference(row: WatchedVersion) -> bytes:
    known = row.card["calibration"].get("answers")
    shape = (len(row.classes), BIN_COUNT)
    return (
        np.zeros(shape, dtype=np.int64) if known is None else np.array(known, dtype=np.int64)
    ).tobytes()


@lru_cache(maxsize=256)
def _followed(
    seed: str, reference: bytes, classes: int, days: tuple[int, ...], counts: bytes
) -> AnswerDrift:
    """The evidence; the same days are not followed again by every page."""
    by_day = np.frombuffer(counts, dtype=np.int64).reshape(len(days), classes, BIN_COUNT)
    known = np.frombuffer(reference, dtype=np.int64).reshape(classes, BIN_COUNT)
    return follow(known, zip(days, by_day, strict=True), seed=seed)


def _sentence(found: AnswerDrift, classes: Sequence[str]) -> str:
    reference = f"the card's {counted(found.reference, 'reference answer')} and those"
    before = reference if found.reference else "the version's answers"
    if found.raised_on is None:
        evidence = f"evidence {math.exp(found.log_evalue):.1f}, the sign takes {1 / ALPHA:.0f}"
        return (
            f"The answers of each day do not differ from {before} before it by more than chance "
            f"({evidence})."
        )
    how = _how(found, classes)
    return (
        f"The answers changed, noticed on {day_date(found.raised_on)}: compared with {before} "
        f"before, {how}. {PROMISE}"
    )


def _how(found: AnswerDrift, classes: Sequence[str]) -> str:
    if len(classes) == 2:
        return {
            "higher": f'they lean more to "{classes[1]}"',
            "lower": f'they lean more to "{classes[0]}"',
            "more extreme": "more of them are sure",
            "less extreme": "fewer of them are sure",
        }[found.kind]
    if found.view == len(classes):
        return {
            "higher": "they are surer",
            "lower": "they are less sure",
            "more extreme": "very high and very low confidence are more frequent",
            "less extreme": "very high and very low confidence are less frequent",
        }[found.kind]
    name = f'"{classes[found.view]}"'
    return {
        "higher": f"they lean more to {name}",
        "lower": f"they lean less to {name}",
        "more extreme": f"sure answers of {name} and other answers are more frequent",
        "less extreme": f"unsure answers of {name} are more frequent",
    }[found.kind]
