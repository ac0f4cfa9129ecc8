"""The word for a p-value of the scope check, and what becomes of answers about images that are out.

It imports nothing: TorchServe archives hold it.
"""

from typing import Any, Literal

ALPHA = 0.05
# Of alpha. Ten times fewer in-scope images are called out than doubtful: refusing them is dearer.
OUT_FRACTION = 0.1
Scope = Literal["in", "doubtful", "out"]
OutOfScopeChoice = Literal["answer", "withhold", "refuse"]


def scope_of(p: float, alpha: float = ALPHA) -> Scope:
    """Return the word for a p-value: "out" at most a tenth of `alpha`, "doubtful" at most `alpha`.

    >>> [scope_of(p) for p in (0.5, 0.05, 0.005)]
    ['in', 'doubtful', 'out']
    """
    return "out" if p <= OUT_FRACTION * alpha else "doubtful" if p <= alpha else "in"


def without_confidence(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with null in place of what it claims; a person should look at the image."""
    if "findings" in answer:
        return answer | {"findings": None}
    claims = dict.fromkeys(("predicted", "confidence", "probabilities"))
    kept = {name: value for name, value in answer.items() if name != "prediction_set"}
    return kept | claims | {"refer": True}


def refusal_of(p: float) -> str:
    """Return why an image with this p-value gets no answer."""
    return (
        f"this image is not like those that the model was made for: of these, at most a share "
        f"{p:.3g} is as unusual (scope_p). Send another image, or let a person look at it."
    )
