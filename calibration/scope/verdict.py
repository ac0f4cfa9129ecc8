"""The word for a p-value of the scope check. It imports nothing: TorchServe archives hold it."""

from typing import Literal

ALPHA = 0.05
# Of alpha. Ten times fewer in-scope images are called out than doubtful: refusing them is dearer.
OUT_FRACTION = 0.1
Scope = Literal["in", "doubtful", "out"]


def scope_of(p: float, alpha: float = ALPHA) -> Scope:
    """Return the word for a p-value: "out" at most a tenth of `alpha`, "doubtful" at most `alpha`.

    >>> [scope_of(p) for p in (0.5, 0.05, 0.005)]
    ['in', 'doubtful', 'out']
    """
    return "out" if p <= OUT_FRACTION * alpha else "doubtful" if p <= alpha else "in"
