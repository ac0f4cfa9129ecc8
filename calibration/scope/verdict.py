"""The word for a p-value of the scope check, and what becomes of answers about images that are out.

It imports nothing: TorchServe archives hold it.
"""

from typing import Any, Literal

ALPHA = 0.05
# Of alpha. Ten times fewer in-scope images are called out than doubtful: refusing them is dearer.
OUT_FRACTION = 0.1
Scope = Literal["in", "doubtful", "out"]
OutOfScopeChoice = Literal["answer", "withhold", "refuse"]


def read_p(p: float) -> float:
    """Return a graph's p-value without the rounding of float32, by which 1/20 is above 0.05."""
    return round(float(p), 6)


def least_p(images: int) -> float:
    """Return the p-value of an image that is unlike all of so many calibration images."""
    return 1 / (images + 1)


def scope_of(p: float, images: int, alpha: float = ALPHA) -> Scope:
    """Return the word for a p-value among so many calibration images.

    "doubtful" is at most `alpha`. Of these, "out" is at most a tenth of it, or unlike all
    calibration images: of few, none can have a tenth.

    >>> [scope_of(p, 999) for p in (0.5, 0.05, 0.005)], scope_of(1 / 100, 99)
    (['in', 'doubtful', 'out'], 'out')
    """
    if p > alpha:
        return "in"
    unlike_all = p < 1.5 * least_p(images)  # the next p-value is twice as large
    return "out" if unlike_all or p <= OUT_FRACTION * alpha else "doubtful"


def without_confidence(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with null in place of what it claims; a person should look at the image."""
    instead = dict.fromkeys(("predicted", "confidence", "probabilities", "findings"))
    kept = {name: value for name, value in answer.items() if name != "prediction_set"}
    return {name: (instead | {"refer": True}).get(name, value) for name, value in kept.items()}


def refusal_of(p: float) -> str:
    """Return why an image with this p-value gets no answer."""
    return (
        f"this image is not like those that the model was made for: of these, at most a share "
        f"{p:.3g} is as unusual (scope_p). Send another image, or let a person look at it."
    )
