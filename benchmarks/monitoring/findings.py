"""Findings with the real dependence of NIH's labels: false alarms of the family, missing labels,
and how soon one that became more frequent is found.

The outcomes are those of the label table that the package torchxrayvision ships (`TXV_DATA`, its
folder `data`; the table is not part of Candor). Each finding gets a score whose log-likelihood
ratio is normal around d²/2 or -d²/2, so its probability is calibrated exactly, and the findings
depend on each other as the labels do. Labels are left out at random.
"""

import csv
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bins import BinSums
from calibration.drift.bets import edges
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from calibration.findings.calibrator import sigmoid
from calibration.measures import metrics

TABLE = "Data_Entry_2017_v2020.csv.gz"
IMAGES, RUN_LENGTH, SEPARATION = 20_000, 2_000, 1.5
BEFORE, LATER = 4_000, 12_000  # labels before a change, and after it
FREQUENT, RARE = 2.0, 0.02  # factor on the odds, prevalence
TOLERANCES = (0.0, 0.025, 0.05, 0.1, 0.2)


def findings(*, streams: int) -> Iterator[dict[str, Any]]:
    """False alarms of 14 findings, the effect of blanks, and delays; nothing without the table."""
    outcomes = _outcomes()
    if outcomes is None:
        return
    runs = [_run(outcomes, seed) for seed in range(min(streams, 20))]
    for shared in (True, False):
        part = 1 / outcomes.shape[1] if shared else 1.0
        counts = [_alarms(p, y, part=part) for p, y in runs]
        yield {
            "false alarms": "shared" if shared else "each its own",
            "allowed a run": IMAGES / RUN_LENGTH,
            "mean": float(np.mean(counts)),
            "most": max(counts),
        }
    yield _blanks(*runs[0])
    for tolerance in TOLERANCES:
        for before in (0, BEFORE):
            yield _delays(tolerance, before=before, streams=streams)


def _outcomes() -> np.ndarray | None:
    """The outcomes (N, 14); None if the table is not there."""
    file = Path(os.environ.get("TXV_DATA", "")) / TABLE
    if not file.is_file():
        return None
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [row["Finding Labels"].split("|") for row in csv.DictReader(lines)]
    names = sorted({name for row in rows for name in row} - {"No Finding"})
    return np.array([[name in row for name in names] for row in rows])


def _run(outcomes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and outcomes (IMAGES, K) of images in a random order."""
    rng = np.random.default_rng(seed)
    y = outcomes[rng.permutation(len(outcomes))[:IMAGES]]
    prior = outcomes.mean(axis=0)
    half = SEPARATION**2 / 2
    ratio = rng.normal(np.where(y, half, -half), SEPARATION)
    return sigmoid(np.log(prior / (1 - prior)) + ratio), y


def _alarms(p: np.ndarray, y: np.ndarray, *, part: float) -> int:
    """How often any finding raises an alarm, each reset at once."""
    settings = DriftSettings(
        average_run_length=RUN_LENGTH, tolerance=0.0, class_wise=False, flat=True, part=part
    )
    raised = 0
    for finding in range(p.shape[1]):
        start, detector = 0, DriftDetector(settings)
        while start < len(p):
            at = detector.update_many(p[start:, finding], y[start:, finding])
            if at is None:
                break
            raised, start = raised + 1, start + at + 1
            detector = DriftDetector(settings)
    return raised


def _blanks(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """How far gaps move if 40 to 97 % of the labels are missing at random, in standard errors."""
    rng = np.random.default_rng(0)
    moves = []
    for finding in range(p.shape[1]):
        kept = rng.random(len(p)) > rng.uniform(0.4, 0.97)
        whole, part = (
            BinSums.from_predictions(p[rows, finding], y[rows, finding])
            for rows in (slice(None), kept)
        )
        error = np.sqrt((p * (1 - p))[kept, finding].sum()) / kept.sum()
        moves.append(abs(metrics.signed_gap(part) - metrics.signed_gap(whole)) / error)
    return {
        "blanks": "40 to 97 % at random",
        "largest move": float(max(moves)),
        "mean": float(np.mean(moves)),
    }


def _delays(tolerance: float, *, before: int, streams: int) -> dict[str, Any]:
    """Median labels from the change until it is found, after `before` calibrated labels.

    The odds of a prevalence of RARE are multiplied. `at best`: by a bet that knows the change, at
    the threshold of one of 14 findings.
    """
    settings = DriftSettings(tolerance=tolerance, class_wise=False, flat=True, part=1 / 14)
    drawn = [_stream(np.random.default_rng([seed, 1]), before) for seed in range(streams)]
    raised = [DriftDetector(settings).update_many(p, y) for p, y in drawn]
    delays = np.array([np.inf if label is None else label + 1 - before for label in raised])
    p, y = (np.stack(rows, axis=1) for rows in zip(*drawn, strict=True))
    odds, allowed = FREQUENT * np.exp(-tolerance), edges(p.ravel(), tolerance, flat=True)[:, 1]
    best, m = np.full(streams, np.inf), np.zeros(streams)
    factors = np.where(y, odds, 1.0) / (1 + allowed.reshape(p.shape) * (odds - 1))
    for label, factor in enumerate(factors, start=1 - before):
        m = np.minimum((m + 1) * factor, 1e280)
        best = np.minimum(best, np.where(m >= settings.threshold, label, np.inf))
    return {
        "tolerance": tolerance,
        "calibrated labels before": before,
        "labels until doubled odds are found": float(np.median(delays[delays > 0])),
        "at best": float(np.median(best[best > 0])),
    }


def _stream(rng: np.random.Generator, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and outcomes (before + LATER,)."""
    count, half = before + LATER, SEPARATION**2 / 2
    logit = np.log(RARE / (1 - RARE)) + rng.normal(
        np.where(rng.random(count) < RARE, half, -half), SEPARATION
    )
    odds = np.where(np.arange(count) < before, 1.0, FREQUENT)
    return sigmoid(logit), rng.random(count) < sigmoid(logit + np.log(odds))
