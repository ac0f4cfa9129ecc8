"""What is timed: ECE, MCE, accuracy and NLL by each library, from probabilities float32 (N, K) and
labels int64 (N,).

Each child process imports only the library that it runs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
Measures = tuple[float, ...]


def arrays(n: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sharp, calibrated probabilities and labels drawn from them."""
    rng = np.random.default_rng(0)
    p = rng.random((n, classes), dtype=np.float32) ** 6
    p /= p.sum(axis=1, keepdims=True)
    drawn, cumulative = rng.random(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    labels = np.zeros(n, dtype=np.int64)
    for k in range(classes - 1):
        cumulative += p[:, k]
        labels += drawn > cumulative
    return p, labels


def candor(p: NDArray[np.float32], y: NDArray[np.int64]) -> Measures:
    """Candor's own, NumPy."""
    from calibration.measures import metrics

    sums = metrics.top_label_sums(p, y)
    return metrics.ece(sums), metrics.mce(sums), metrics.accuracy(sums), metrics.nll(p, y)


def torchmetrics(p: NDArray[np.float32], y: NDArray[np.int64]) -> Measures:
    """torchmetrics' functions; NLL by torch. Its argument checks are off, which favors it."""
    import torch
    from torchmetrics.functional import classification as tm

    probabilities, labels = torch.from_numpy(p), torch.from_numpy(y)
    known: dict[str, Any] = {"num_classes": p.shape[1], "validate_args": False}
    errors = [
        tm.multiclass_calibration_error(probabilities, labels, n_bins=BINS, norm=norm, **known)
        for norm in ("l1", "max")
    ]
    accuracy = tm.multiclass_accuracy(probabilities, labels, average="micro", **known)
    nll = torch.nn.functional.nll_loss(probabilities.log(), labels)
    return *map(float, errors), float(accuracy), float(nll)


def netcal(p: NDArray[np.float32], y: NDArray[np.int64]) -> Measures:
    """netcal's ECE and MCE; accuracy and NLL by NumPy, since it has none."""
    from netcal.metrics import ECE, MCE

    accuracy = float((p.argmax(axis=1) == y).mean())
    nll = float(-np.log(p[np.arange(len(y)), y]).mean())
    return float(ECE(BINS).measure(p, y)), float(MCE(BINS).measure(p, y)), accuracy, nll


SUBJECTS = {"candor": candor, "torchmetrics": torchmetrics, "netcal": netcal}
