"""What scores are: probabilities, percentages or logits, and which rows cannot be any of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.temperature import softmax
from candor.predictions.columns import Kind
from candor.predictions.errors import PredictionsRefused, rows_listed

SUM_TOLERANCE = 0.01  # for probabilities that were rounded
MOSTLY = 0.9  # of single scores between 0 and 1, from which negative ones are no logits
# no network gives a class of two such a logit, and hardly such a probability in another unit
_CERTAIN_PERCENT = 30.0


@dataclass(frozen=True)
class Scores:
    """`probabilities` (N, K); `kind` of what was read; `notes` on what was guessed."""

    probabilities: FloatArray
    kind: Kind
    notes: tuple[str, ...] = ()


def interpret_scores(
    values: FloatArray, rows: IntArray, *, kind: Kind | None, normalize: bool
) -> Scores:
    """Read scores (N, K) of all classes; `rows` are their numbers in the file.

    Raises PredictionsRefused: values that are not finite, rows that do not add up to 1, scores that
    may be anything.
    """
    _require_finite(values, rows)
    lowest, highest = float(values.min()), float(values.max())
    if kind == "logits":
        return Scores(softmax(values), "logits")
    if lowest < 0:
        negative = np.asarray((values < 0).any(axis=1))
        plain = ~negative & (np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)
        _require_logits(negative, rows, kind=kind, mostly=float(plain.mean()) > 0.5)
        return Scores(
            softmax(values), "logits", ("Some scores are below 0, so they were taken as logits.",)
        )
    sums = values.sum(axis=1)
    if normalize:
        return Scores(_normalized(values, sums, rows), "probabilities", _normalized_note(sums))
    if highest > 1 + SUM_TOLERANCE and np.abs(sums - 100).max() <= 100 * SUM_TOLERANCE:
        return Scores(
            np.clip(values / 100, 0, 1), "probabilities", ("Rows add up to 100: taken as percent.",)
        )
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if wrong.any():
        _refuse_sums(values, sums, rows, wrong, highest)
    return Scores(np.clip(values, 0, 1), "probabilities")


def interpret_single(values: FloatArray, rows: IntArray, *, kind: Kind | None) -> Scores:
    """Read the score (N,) of the second of two classes. Raises as `interpret_scores`."""
    _require_finite(values[:, np.newaxis], rows)
    notes: tuple[str, ...] = ()
    if kind == "logits" or (kind is None and values.min() < 0):
        if kind is None:
            within = float(((values >= 0) & (values <= 1)).mean())
            _require_logits(values < 0, rows, kind=kind, mostly=within > MOSTLY)
            notes = ("Some scores are below 0, so they were taken as logits.",)
        return Scores(softmax(np.stack([np.zeros_like(values), values], axis=1)), "logits", notes)
    p, said = fractions(values, rows)
    return Scores(np.stack([1 - p, p], axis=1), "probabilities", said)


def fractions(values: FloatArray, rows: IntArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return shares (N,), percentages divided by 100, and a note. Raises PredictionsRefused."""
    _require_finite(values[:, np.newaxis], rows)
    highest = float(values.max())
    if values.min() < 0 or highest > 100 or 1 + 1e-6 < highest <= _CERTAIN_PERCENT:
        bad = rows[(values < 0) | (values > 1 + 1e-6)]
        raise PredictionsRefused(
            f"a probability or confidence is between 0 and 1, or in percent; got {values.min():g} "
            f"to {highest:g} ({rows_listed(bad)}). For logits, give --logits '*'"
        )
    if highest > 1 + 1e-6:
        return values / 100, ("Values up to 100: taken as percent.",)
    return np.clip(values, 0, 1), ()


def _require_logits(
    negative: npt.NDArray[np.bool_], rows: IntArray, *, kind: Kind | None, mostly: bool
) -> None:
    """Refuse rows (N,) with negative scores among what is said to be probabilities, or is `mostly`
    like them.
    """
    if kind == "probabilities" or mostly:
        raise PredictionsRefused(
            f"probabilities cannot be negative: {rows_listed(rows[negative])}. Correct them. For "
            "logits, give --logits '*'"
        )


def _require_finite(values: FloatArray, rows: IntArray) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise PredictionsRefused(
            f"scores must be finite numbers; {rows_listed(rows[bad])} have infinity"
        )


def _refuse_sums(
    values: FloatArray, sums: FloatArray, rows: IntArray, wrong: np.ndarray, highest: float
) -> None:
    first = int(np.flatnonzero(wrong)[0])
    example = (
        f"row {rows[first]:,} adds up to {sums[first]:.4g} "
        f"({', '.join(f'{v:.4g}' for v in values[first][:6])})"
    )
    if highest > 1 + SUM_TOLERANCE:
        raise PredictionsRefused(
            f"these scores are no probabilities: {example}. If they are logits, give --logits '*'; "
            "if counts or weights of classes, --normalize divides each row by its sum"
        )
    raise PredictionsRefused(
        f"{int(wrong.sum()):,} of {len(rows):,} rows do not add up to 1: "
        f"{rows_listed(rows[wrong])}; {example}. --normalize divides each row by its sum; --logits "
        "'*' takes values as logits; --findings '*' takes each column as a finding of its own, if "
        "several can be present at once"
    )


def _normalized(values: FloatArray, sums: FloatArray, rows: IntArray) -> FloatArray:
    if not (sums > 0).all():
        raise PredictionsRefused(
            f"rows of zeros have no sum to divide by: {rows_listed(rows[~(sums > 0)])}"
        )
    return np.asarray(values / sums[:, np.newaxis])


def _normalized_note(sums: FloatArray) -> tuple[str, ...]:
    changed = int((np.abs(sums - 1) > SUM_TOLERANCE).sum())
    return (
        f"--normalize divided rows by their sum; {changed:,} of {len(sums):,} did not add up to 1.",
    )
