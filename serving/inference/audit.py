"""The audit sample: answers to be labeled regardless of their outcome, drawn before it is known.

A hash of the prediction id decides, so that every replica and every later recount draw the same
answers.
"""

from hashlib import blake2b

_HASHES = 2**64


class AuditSampler:
    """Draws each answer with probability `share`, in [0, 1]."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._below = round(share * _HASHES)

    @property
    def on(self) -> bool:
        """Whether any answer can be drawn."""
        return self._below > 0

    def drawn(self, prediction_id: bytes) -> bool:
        """Whether the answer with this id (16 bytes) is drawn.

        >>> AuditSampler(1.0).drawn(bytes(16)), AuditSampler(0.0).drawn(bytes(16))
        (True, False)
        """
        return int.from_bytes(blake2b(prediction_id, digest_size=8).digest(), "big") < self._below
