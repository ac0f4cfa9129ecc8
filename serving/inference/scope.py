"""What an answer says of the scope check, and what becomes of images that are out of scope."""

import json
from dataclasses import dataclass, replace

from calibration.scope.verdict import (
    ALPHA,
    OUT_FRACTION,
    OutOfScopeChoice,
    Scope,
    scope_of,
    without_confidence,
)
from model_store.bundle.scope_card import ScopeCard
from serving.errors import OutOfScope
from serving.inference.prediction import Prediction


@dataclass(frozen=True, slots=True)
class ScopePolicy:
    """`alpha`: images with a p-value up to it are doubtful, up to a tenth of it out of scope.
    `out`: what becomes of the latter. They are answered; or without confidence; or refused.
    """

    alpha: float = ALPHA
    out: OutOfScopeChoice = "answer"

    def verdict(self, p: float | None) -> "ScopeVerdict | None":
        """The verdict of a p-value; None without a scope check."""
        if p is None:
            return None
        scope = scope_of(p, self.alpha)
        return ScopeVerdict(scope, p, self.out if scope == "out" else "answer")

    def never(self, card: ScopeCard | None) -> bool:
        """Whether images that are out are not to be answered and none can be out: its least p-value
        is 1 of the calibration images and itself.
        """
        images = card.flagged.n if card else 0
        return self.out != "answer" and OUT_FRACTION * self.alpha * (images + 1) < 1

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


@dataclass(frozen=True, slots=True)
class ScopeVerdict:
    """The word for a p-value, and what becomes of the answer."""

    scope: Scope
    p: float
    then: OutOfScopeChoice

    @property
    def withholds(self) -> bool:
        """Whether the answer has no confidence."""
        return self.then == "withhold"

    @property
    def refusal(self) -> OutOfScope | None:
        """The error in place of the answer."""
        return OutOfScope(self.p) if self.then == "refuse" else None


def with_scope(answer: bytes, verdict: ScopeVerdict) -> bytes:
    """The JSON of an answer with `scope` and `scope_p`, without confidence if it is withheld."""
    said = b',"scope":"%s","scope_p":%.9g}' % (verdict.scope.encode(), verdict.p)
    if verdict.withholds:
        answer = json.dumps(without_confidence(json.loads(answer)), separators=(",", ":")).encode()
    return answer[:-1] + said
