"""The audit draw: which answers are to be labeled whatever the outcome, decided before anybody knows it.

By a hash of the prediction's id, so that every replica, and whoever recounts later, comes to the same decision.
"""

from hashlib import blake2b

_HASHES = 2**64


class AuditSampler:
    """Draws each answer with probability `share`, in [0, 1]; 0 draws none."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._below = round(share * _HASHES)

    @property
    def on(self) -> bool:
        """Whether anything can be drawn at all."""
        return self._below > 0

    def drawn(self, prediction_id: bytes) -> bool:
        """Whether the answer of this id (16 bytes) is drawn.

        >>> AuditSampler(1.0).drawn(bytes(16)), AuditSampler(0.0).drawn(bytes(16))
        (True, False)
        """
        return int.from_bytes(blake2b(prediction_id, digest_size=8).digest(), "big") < self._below
