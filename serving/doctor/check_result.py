"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "broken", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """One line of the examination.

    Attributes:
        check: what was looked at.
        state: `broken`: Candor cannot work like this. `warning`: it works, but not as one would
            expect. `skipped`: there is nothing to look at.
        found: a clause that says what was found; it contains no secret.
        advice: what to do; None unless the state is `warning` or `broken`.
    """

    check: str
    state: State
    found: str
    advice: str | None = None
