"""What an answer says of the scope check, and what becomes of images that are out of scope."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from calibration.scope.verdict import (
    ALPHA,
    OutOfScopeChoice,
    Scope,
    least_p,
    scope_of,
    without_confidence,
)
from model_store.bundle.scope_card import ScopeCard
from serving.errors import OutOfScope
from serving.inference.prediction import Prediction


@dataclass(frozen=True, slots=True)
class ScopePolicy:
    """`alpha`: images with a p-value up to it are doubtful, some of them out of scope
    (`scope_of`). `out`: what becomes of the latter. They are answered; or without confidence; or
    refused. `images`: those that calibrate the version's check; 0 without one.
    """

    alpha: float = ALPHA
    out: OutOfScopeChoice = "answer"
    images: int = 0

    def of(self, card: ScopeCard | None) -> "ScopePolicy":
        """The policy for a version with this card."""
        return replace(self, images=card.flagged.n if card else 0)

    def verdict(self, p: float | None) -> "ScopeVerdict | None":
        """The verdict of a p-value; None without a scope check."""
        if p is None:
            return None
        scope = scope_of(p, self.images, self.alpha)
        return ScopeVerdict(scope, p, self.out if scope == "out" else "answer")

    @property
    def blind(self) -> bool:
        """Whether alpha is below the least p-value that there is, so that no image is doubtful."""
        return self.images > 0 and self.alpha < least_p(self.images)

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction with the word by this alpha. Raises OutOfScope if it is not to be shown,
        or not its confidence.
        """
        verdict = self.verdict(prediction.scope_p)
        if verdict is None:
            return prediction
        if verdict.then != "answer":
            raise OutOfScope(verdict.p)
        return replace(prediction, scope=verdict.scope)

    def fields(self, prediction: Prediction) -> dict[str, Any]:
        """The answer as a dict: without confidence if that is withheld, an `error` if refused."""
        said, verdict = asdict(prediction), self.verdict(prediction.scope_p)
        if verdict is None or verdict.then == "answer":
            return said
        if verdict.refusal:
            return {"error": str(verdict.refusal), "scope": verdict.scope, "scope_p": verdict.p}
        return without_confidence(said)


@dataclass(frozen=True, slots=True)
class ScopeVerdict:
    """The word for a p-value, and what becomes of the answer."""

    scope: Scope
    p: float
    then: OutOfScopeChoice

    @property
    def refusal(self) -> OutOfScope | None:
        """The error in place of the answer."""
        return OutOfScope(self.p) if self.then == "refuse" else None


def with_scope(answer: bytes, verdict: ScopeVerdict) -> bytes | OutOfScope:
    """The JSON of an answer with `scope` and `scope_p`, without confidence if it is withheld; or
    the error in its place.
    """
    if verdict.refusal:
        return verdict.refusal
    said = b',"scope":"%s","scope_p":%.9g}' % (verdict.scope.encode(), verdict.p)
    if verdict.then == "withhold":
        answer = json.dumps(without_confidence(json.loads(answer)), separators=(",", ":")).encode()
    return answer[:-1] + said
