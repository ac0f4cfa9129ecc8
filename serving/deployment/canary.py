"""A canary at work: which requests it answers, and whether it is to be aborted.

Aborted when its drift detector alarms, or when its inference fails more often than production's does.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model_store.canary import Canary
from serving.inference.served_version import ServedVersion

FAILURES: Final = 5  # fewer could be chance, or one poisoned image sent again
MARGIN: Final = 0.01  # by which the canary's share of failures may exceed production's


@dataclass(frozen=True, slots=True)
class Trial:
    """A loaded canary."""

    served: ServedVersion
    canary: Canary

    def takes(self, asked: bool | None) -> bool:
        """Whether the canary answers a request that asks for it (True), against it (False), or says nothing (None)."""
        if self.canary.mode == "shadow" or asked is False:
            return False
        return asked is True or (self.canary.mode == "share" and random.random() < self.canary.share)

    @property
    def shadows(self) -> bool:
        """Whether it computes beside production."""
        return self.canary.mode == "shadow"

    def verdict(self, production: ServedVersion, alarmed: Callable[[int], bool]) -> str | None:
        """Why the trial is to be aborted, None while it may go on; `alarmed` says it of a calibration's detector."""
        version = self.served.card.version
        if alarmed(self.served.calibration_id):
            return f"the drift detector of version {version} has raised its alarm"
        failed, usual = self.served.outcomes.failed, production.outcomes.failed_ratio
        if failed >= FAILURES and self.served.outcomes.failed_ratio > usual + MARGIN:
            return (
                f"inference of version {version} failed {failed} times, {self.served.outcomes.failed_ratio:.1%} of its "
                f"answers; production fails {usual:.1%}"
            )
        return None
