"""Early signs: changes of answers and images that show before any label arrives. None of them says
that answers are wrong.

Histograms are compared by the population stability index, PSI = sum (a - b) ln(a / b) over the
shares a and b of the bins. By convention PSI below 0.1 is no change and above 0.25 a large one.
Chance alone gives about (bins - 1) (1/n + 1/m). A sign is raised above a notable value and above
what chance exceeds once in a thousand times. `answer_distribution` is a test with a promise of its
own (`calibration.drift.answer_drift`): while nothing changes it is ever raised for at most 1 in 100
versions; it starts again on the day after a reset or acknowledgment. So is `doubtful_images`
(`calibration.scope.watch`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from calibration.bins import BIN_COUNT, BinSums
from calibration.drift.answer_drift import ALPHA, AnswerDrift, follow
from calibration.scope.watch import LEVEL
from monitoring.diagnosis.facts import EarlySign
from monitoring.drift import scope_watch
from monitoring.drift.events import Event, begun_on
from monitoring.ledger.database import summed
from monitoring.ledger.days import read_answers_by_day
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day
from monitoring.ledger.sums import Inputs, LedgerSums, read_inputs, read_sums
from monitoring.ledger.watched_version import WatchedVersion

ENOUGH, ENOUGH_IMAGES = 1_000, 200  # before anything is compared
RECENT_DAYS = 7
NOTABLE_PSI = 0.1
NOTABLE_MEAN = 0.02  # the smallest change of mean confidence that counts
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
    key, today = row.watched_version_id, now_ns // DAY_NS
    served = read_sums(connection, key)
    first_day = today - RECENT_DAYS + 1
    recent, before = _class_counts(connection, row, first_day)
    found = [
        _histogram(served, row.reference),
        _expected_accuracy(served, row.reference),
        _class_mix(recent, before, since_s=first_day * _DAY_S),
        _answers(connection, row, history, today=today),
        _scope(connection, row, now_ns=now_ns),
    ]
    reference = row.card.get("input_reference")
    if reference is not None:
        live = read_inputs(connection, key, since_day=None)
        found.append(_trained_on(live, now_s=now_ns / 1e9))
        found += image_signs(live, reference)
    return tuple(found)


def psi(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Population stability index of two histograms of counts.

    Bins that are empty in both are ignored; every other bin gets half an answer more, so that no
    share is 0.

    >>> psi([50, 50], [50, 50]), round(psi([75, 25], [25, 75]), 2)
    (0.0, 1.07)
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    filled = (a + b) > 0
    a, b = a[filled] + 0.5, b[filled] + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def psi_limit(bins: int, n: float, m: float, *, chance: float = 0.001) -> float:
    """The PSI that `chance` exceeds: a chi-squared quantile (Wilson-Hilferty) times 1/n + 1/m."""
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(1 - chance) * math.sqrt(spread)) ** 3
    return max(NOTABLE_PSI, quantile * (1 / n + 1 / m))


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
        yield _sign(name, value, max(NOTABLE_DISTANCE, noise))


def _trained_on(live: Inputs, *, now_s: float) -> EarlySign:
    """The share of images that the model has seen in training; no labels make up for them."""
    share = live.trained_on / live.n if live.n >= ENOUGH_TRAINED else math.nan
    raised = share > NOTABLE_TRAINED
    return EarlySign("training_images", share, NOTABLE_TRAINED, raised, now_s if raised else None)


def _sign(name: str, value: float, limit: float, since_s: float | None = None) -> EarlySign:
    raised = abs(value) > limit
    return EarlySign(name, value, limit, raised, since_s if raised else None)


def _quiet(name: str, limit: float) -> EarlySign:
    """A sign that is not raised because there is too little to compare."""
    return EarlySign(name, math.nan, limit, False)


def _histogram(served: LedgerSums, reference: BinSums) -> EarlySign:
    name, n, m = "confidence_histogram", int(served.served.sum()), reference.total
    if n < ENOUGH or not m or len(reference.n) != len(served.served):
        return _quiet(name, NOTABLE_PSI)
    bins = int(((served.served + reference.n) > 0).sum())
    return _sign(name, psi(served.served, reference.n), psi_limit(bins, n, m))


def _expected_accuracy(served: LedgerSums, reference: BinSums) -> EarlySign:
    """Mean confidence, live minus reference."""
    name, n = "expected_accuracy", int(served.served.sum())
    if n < ENOUGH or not reference.total:
        return _quiet(name, NOTABLE_MEAN)
    now = float(served.served_confidence.sum()) / n
    then = float(reference.confidence.sum()) / reference.total
    noise = _CHANCE * math.sqrt(
        _spread(served.served, served.served_confidence) / n
        + _spread(reference.n, reference.confidence) / reference.total
    )
    return _sign(name, now - then, max(NOTABLE_MEAN, noise))


def _spread(n: npt.NDArray[Any], confidence: npt.NDArray[Any]) -> float:
    """Variance of confidence, from counts and sums (B,): between bins, and of a uniform in one."""
    total = float(n.sum())
    mean = float(confidence.sum()) / total
    between = float((n * (confidence / np.maximum(n, 1) - mean) ** 2).sum()) / total
    return between + 1 / (12 * len(n) ** 2)


def _class_mix(
    recent: npt.NDArray[np.int64], before: npt.NDArray[np.int64], *, since_s: float
) -> EarlySign:
    """The predicted classes of the last days against those before; the card has no class mix."""
    name = "predicted_class_mix"
    if recent.sum() < ENOUGH or before.sum() < ENOUGH:
        return _quiet(name, NOTABLE_PSI)
    limit = psi_limit(len(recent), float(recent.sum()), float(before.sum()))
    return _sign(name, psi(recent, before), limit, since_s)


def _class_counts(
    connection: Connection, row: WatchedVersion, first_day: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Answers by predicted class (K,), since that day and before."""
    columns = bin_day.c
    number = {f"predicted:{name}": index for index, name in enumerate(row.classes)}
    is_recent = columns.day >= first_day
    wanted = select(columns.slice, is_recent, summed(columns.served)).where(
        columns.watched_version_id == row.watched_version_id, columns.slice.in_(number)
    )
    counts = np.zeros((2, len(number)), dtype=np.int64)
    for name, late, served in connection.execute(wanted.group_by(columns.slice, is_recent)):
        counts[int(late), number[name]] = int(served)
    return counts[1], counts[0]


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
