"""A loaded canary: which requests it answers, and when it must be aborted.

It is aborted when its drift detector raises an alarm, or when its inference fails more often than
production's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model_store.lifecycle.canary import Canary
from serving.inference.served_version import ServedVersion

MIN_FAILURES: Final = 5  # fewer could be chance, or one broken image that is sent again and again
MARGIN: Final = 0.01  # by which the canary's failure ratio may exceed production's


@dataclass(frozen=True, slots=True)
class LoadedCanary:
    """A loaded version and the store's record of the canary."""

    served: ServedVersion
    record: Canary

    def takes(self, asked: bool | None) -> bool:
        """Whether the canary answers a request that asks for it (True), against it (False) or says
        nothing (None).
        """
        if self.is_shadow or asked is False:
            return False
        return asked is True or (
            self.record.mode == "share" and random.random() < self.record.share
        )

    @property
    def is_shadow(self) -> bool:
        """Whether it only computes beside production and never answers."""
        return self.record.mode == "shadow"

    def abort_reason(self, production: ServedVersion, alarmed: Callable[[int], bool]) -> str | None:
        """Why the canary must be aborted; None if it may go on.

        `alarmed` says whether the drift detector of a calibration id has an active alarm.
        """
        version = self.served.card.version
        if alarmed(self.served.watched_version_id):
            return f"the drift detector of version {version} has raised an alarm"
        failed, usual = self.served.counts.failed, production.counts.failed_ratio
        if failed >= MIN_FAILURES and self.served.counts.failed_ratio > usual + MARGIN:
            return (
                f"inference of version {version} failed {failed} times, "
                f"{self.served.counts.failed_ratio:.1%} of its "
                f"answers; production fails {usual:.1%}"
            )
        return None
