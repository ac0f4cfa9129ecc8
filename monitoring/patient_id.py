"""The identifier of a patient that a caller sends with an image, and the keyed hash of it.

The ledger stores the hash, never the identifier: images of one patient err together, and whatever
counts evidence must know which belong together, not to whom. Decision 82 says what the hash hides,
and from whom.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

CHARACTERS: Final = 128
HASH_BYTES: Final = 8
_CHECKED: Final = b"candor: the key of patients"  # what a key signs to be recognized


def read_patient(text: str | None) -> str | None:
    """Return the identifier without surrounding spaces; None if nothing is left.

    Raises:
        ValueError: too long, or characters that cannot be printed.

    >>> read_patient(" MRN-17 "), read_patient("")
    ('MRN-17', None)
    """
    patient = (text or "").strip()
    if len(patient) > CHARACTERS or not patient.isprintable() or "\ufffd" in patient:
        raise ValueError(
            f"patient must be a string of at most {CHARACTERS} printable characters in UTF-8."
        )
    return patient or None


@dataclass(frozen=True)
class PatientKey:
    """The secret of all hashes of a ledger: HMAC-SHA256 (RFC 2104), the first 8 bytes.

    >>> PatientKey(b"secret").hash("MRN-17") == PatientKey(b"secret").hash("MRN-17")
    True
    >>> PatientKey(b"secret").hash("MRN-17") == PatientKey(b"other").hash("MRN-17")
    False
    """

    secret: bytes = field(repr=False)

    def hash(self, patient: str | None) -> int | None:
        """Return a whole number in [-2^63, 2^63); None for an unknown patient."""
        if patient is None:
            return None
        return int.from_bytes(self._sign(patient.encode()), "big", signed=True)

    @property
    def check(self) -> bytes:
        """8 bytes that recognize the key and do not reveal it."""
        return self._sign(_CHECKED)

    def _sign(self, message: bytes) -> bytes:
        return hmac.digest(self.secret, message, "sha256")[:HASH_BYTES]


def as_text(patient: int | None) -> str | None:
    """Return a hash as 16 hexadecimal digits.

    >>> as_text(-1), as_text(26)
    ('ffffffffffffffff', '000000000000001a')
    """
    return None if patient is None else f"{patient % 2**64:016x}"
