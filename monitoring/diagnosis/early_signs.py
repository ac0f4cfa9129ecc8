"""Early signs: changes of answers and images that show before any label arrives. None of them says
that answers are wrong.

`answer_distribution` is a test with a promise (`calibration.drift.answer_drift`): while nothing
changes it is ever raised for at most 1 in 100 versions; it starts again on the day after a reset
or acknowledgment. So is `doubtful_images` (`calibration.scope.watch`). Those of brightness and
contrast are raised above a notable value and above what chance exceeds once in a thousand times.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from sqlalchemy import Connection

from calibration.bins import BIN_COUNT
from calibration.drift.answer_drift import ALPHA, AnswerDrift, follow
from calibration.scope.watch import LEVEL
from monitoring.diagnosis.facts import EarlySign
from monitoring.drift import scope_watch
from monitoring.drift.events import Event, begun_on
from monitoring.ledger.days import read_answers_by_day
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.sums import Inputs, read_inputs
from monitoring.ledger.watched_version import WatchedVersion

ENOUGH_IMAGES = 200  # before anything is compared
NOTABLE_DISTANCE = 0.25  # standard deviations of images
ENOUGH_TRAINED, NOTABLE_TRAINED = 20, 0.01  # images, and the share that the model has seen
CLASS_LIMIT = 16  # of `answer_distribution`
_NARROWEST = 1.0  # gray levels
_CHANCE = NormalDist().inv_cdf(0.9995)
_IMAGES: Final = {"mean": "image_brightness", "contrast": "image_contrast"}
_DAY_S = DAY_NS / 1e9


def find_early_signs(
    connection: Connection, row: WatchedVersion, history: Sequence[Event], *, now_ns: int
) -> tuple[EarlySign, ...]:
    """Return all signs of a version, raised or not; `history`: its events."""
    found = [
        _answers(connection, row, history, today=now_ns // DAY_NS),
        _scope(connection, row, now_ns=now_ns),
    ]
    reference = row.card.get("input_reference")
    if reference is not None:
        live = read_inputs(connection, row.watched_version_id)
        found.append(_trained_on(live))
        found += image_signs(live, reference)
    return tuple(found)


def image_signs(live: Inputs, reference: Mapping[str, float]) -> Iterator[EarlySign]:
    """Compare brightness and contrast of images with the card's `input_reference`.

    The value is the distance of the averages in standard deviations between reference images.

    >>> live = Inputs(400, 120.0, 20.0, 50.0, 8.0)
    >>> card = {"mean": 110.0, "mean_sd": 20.0, "contrast": 50.0, "contrast_sd": 8.0, "n": 400}
    >>> [(sign.value, sign.raised) for sign in image_signs(live, card)]
    [(0.5, True), (0.0, False)]
    """
    for which, name in _IMAGES.items():
        if live.n < ENOUGH_IMAGES:
            yield _quiet(name, NOTABLE_DISTANCE)
            continue
        spread = max(reference[f"{which}_sd"], _NARROWEST)
        value = (getattr(live, which) - reference[which]) / spread
        of_live = (getattr(live, f"{which}_sd") / spread) ** 2 / live.n
        noise = _CHANCE * math.sqrt(of_live + 1 / reference["n"])
        limit = max(NOTABLE_DISTANCE, noise)
        yield EarlySign(name, value, limit, abs(value) > limit)


def _trained_on(live: Inputs) -> EarlySign:
    """The share of images that the model has seen in training."""
    share = live.trained_on / live.n if live.n >= ENOUGH_TRAINED else math.nan
    return EarlySign("training_images", share, NOTABLE_TRAINED, share > NOTABLE_TRAINED)


def _quiet(name: str, limit: float) -> EarlySign:
    """A sign that is not raised because there is too little to compare."""
    return EarlySign(name, math.nan, limit, False)


def _answers(
    connection: Connection, row: WatchedVersion, history: Sequence[Event], *, today: int
) -> EarlySign:
    name, limit = "answer_distribution", math.log(1 / ALPHA)
    if len(row.classes) > CLASS_LIMIT:
        return _quiet(name, limit)
    days = read_answers_by_day(
        connection, row, since_day=begun_on(history, EVERYTHING), before_day=today
    )
    if not days:
        return _quiet(name, limit)
    numbers, counts = zip(*days, strict=True)
    found = _followed(row.card_sha256, _reference(row), numbers, np.stack(counts).tobytes())
    raised = found.raised_on
    since_s = None if raised is None else raised * _DAY_S
    return EarlySign(name, found.log_evalue, limit, raised is not None, since_s)


def _scope(connection: Connection, row: WatchedVersion, *, now_ns: int) -> EarlySign:
    """More images out of scope than the card promises, by whole days since the last restart."""
    name, limit = "doubtful_images", math.log(1 / LEVEL)
    found = scope_watch.find_evidence(connection, row, now_ns=now_ns)
    if found is None:
        return _quiet(name, limit)
    since_s = None if found.raised_on is None else found.raised_on * _DAY_S
    return EarlySign(name, found.log_evalue, limit, found.raised_on is not None, since_s)


def _reference(row: WatchedVersion) -> bytes:
    known = row.card["calibration"].get("answers")
    nothing = np.zeros((len(row.classes), BIN_COUNT), dtype=np.int64)
    return (nothing if known is None else np.array(known, dtype=np.int64)).tobytes()


@lru_cache(maxsize=256)
def _followed(seed: str, reference: bytes, days: tuple[int, ...], counts: bytes) -> AnswerDrift:
    """The evidence; the same days are not followed again by every page."""
    by_day = np.frombuffer(counts, dtype=np.int64).reshape(len(days), -1, BIN_COUNT)
    known = np.frombuffer(reference, dtype=np.int64).reshape(-1, BIN_COUNT)
    return follow(known, zip(days, by_day, strict=True), seed=seed)
