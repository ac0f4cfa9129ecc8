"""What is timed: one function per library and task, from probabilities float32 (N, K) and labels
int64 (N,) to numbers.

Each child process imports only the library that it runs, so that no library counts in the memory of
another.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
Task = Callable[[], tuple[float, ...]]
Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def arrays(n: int, classes: int, seed: int = 0) -> Arrays:
    """Sharp, calibrated probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, classes), dtype=np.float32) ** 6
    p /= p.sum(axis=1, keepdims=True)
    drawn, cumulative = rng.random(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    labels = np.zeros(n, dtype=np.int64)
    for k in range(classes - 1):
        cumulative += p[:, k]
        labels += drawn > cumulative
    return p, labels


def candor(p: NDArray[np.float32], y: NDArray[np.int64]) -> dict[str, Task]:
    """Candor's own, NumPy in one thread."""
    from calibration.measures import metrics
    from calibration.measures.ranking import class_auroc

    def summary() -> tuple[float, ...]:
        sums = metrics.top_label_sums(p, y)
        return metrics.ece(sums), metrics.mce(sums), metrics.accuracy(sums), metrics.nll(p, y)

    return {
        "ECE": lambda: (metrics.ece(metrics.top_label_sums(p, y)),),
        "ECE, MCE, accuracy, NLL": summary,
        "AUROC": lambda: (class_auroc(p, y),),
    }


def torchmetrics(p: NDArray[np.float32], y: NDArray[np.int64]) -> dict[str, Task]:
    """torchmetrics' functions; NLL by torch. Its argument checks are off, which favors it."""
    import torch
    from torchmetrics.functional import classification as tm

    probabilities, labels, classes = torch.from_numpy(p), torch.from_numpy(y), p.shape[1]
    known: dict[str, Any] = {"num_classes": classes, "validate_args": False}

    def error(norm: Any) -> float:
        return float(
            tm.multiclass_calibration_error(probabilities, labels, n_bins=BINS, norm=norm, **known)
        )

    def summary() -> tuple[float, ...]:
        accuracy = tm.multiclass_accuracy(probabilities, labels, average="micro", **known)
        nll = torch.nn.functional.nll_loss(probabilities.log(), labels)
        return error("l1"), error("max"), float(accuracy), float(nll)

    return {
        "ECE": lambda: (error("l1"),),
        "ECE, MCE, accuracy, NLL": summary,
        "AUROC": lambda: (float(tm.multiclass_auroc(probabilities, labels, **known)),),
    }


def netcal(p: NDArray[np.float32], y: NDArray[np.int64]) -> dict[str, Task]:
    """netcal's ECE and MCE; accuracy and NLL by NumPy, since it has none."""
    from netcal.metrics import ECE, MCE

    def summary() -> tuple[float, ...]:
        accuracy = float((p.argmax(axis=1) == y).mean())
        nll = float(-np.log(p[np.arange(len(y)), y]).mean())
        return float(ECE(BINS).measure(p, y)), float(MCE(BINS).measure(p, y)), accuracy, nll

    return {"ECE": lambda: (float(ECE(BINS).measure(p, y)),), "ECE, MCE, accuracy, NLL": summary}


SUBJECTS = {"candor": candor, "torchmetrics": torchmetrics, "netcal": netcal}
