"""Predictions of simulated models, with labels drawn from what the model should have said."""

import numpy as np
import numpy.typing as npt

from calibration.temperature import softmax


def simulated(
    seed: int,
    *,
    rows: int = 600,
    classes: int = 2,
    temperature: float = 1.0,
    bias: tuple[float, ...] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities (rows, classes) and labels. The labels follow softmax(logits / temperature +
    bias).
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    truth = softmax(logits / temperature + np.array(bias or (0.0,) * classes))
    return softmax(logits), (truth.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
