"""Vector scaling against scipy."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from calibration.calibrators.affine import RIDGE
from calibration.calibrators.remedies import VECTOR
from calibration.calibrators.temperature import fit_temperature
from calibration.measures.metrics import nll

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def skewed_answers(seed: int, *, n: int = 1500, classes: int = 4) -> Answers:
    """Logits, and labels drawn from a vector scaling of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    truth = scipy_softmax(
        logits * rng.uniform(0.3, 0.8, classes) + rng.normal(0, 0.7, classes), axis=1
    )
    return logits, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def scipy_vector(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Probabilities of the same objective, minimized by quasi-Newton without our derivatives."""
    k, spread = logits.shape[1], (logits - logits.mean(axis=1, keepdims=True)).std()
    z, start = (
        logits / spread,
        np.repeat([spread / fit_temperature(logits, labels), 0.0], k),
    )

    def loss(theta: npt.NDArray[np.float64]) -> float:
        log_p = log_softmax(z * theta[:k] + theta[k:], axis=1)
        return float(
            -log_p[np.arange(len(labels)), labels].mean() + RIDGE / 2 * ((theta - start) ** 2).sum()
        )

    theta = minimize(loss, start, options={"gtol": 1e-9, "maxiter": 500}).x
    return np.asarray(scipy_softmax(z * theta[:k] + theta[k:], axis=1))


@pytest.mark.parametrize(("seed", "classes"), [(0, 2), (1, 3), (2, 4)])
def test_vector_scaling_finds_scipys_optimum(seed: int, classes: int) -> None:
    answers = skewed_answers(seed, n=600, classes=classes)
    np.testing.assert_allclose(VECTOR.fit(*answers)(answers[0]), scipy_vector(*answers), atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3000.0])
def test_vector_scaling_stays_finite_on_answers_that_are_all_right(scale: float) -> None:
    logits, _ = skewed_answers(4, n=200)
    fitted = VECTOR.fit(scale * logits, logits.argmax(axis=1))
    assert np.isfinite([*fitted.weight, *fitted.bias]).all()
    assert nll(fitted(scale * logits), logits.argmax(axis=1)) < 0.02
