"""Tags: up to three short texts that a caller sends with an image (site, device, ward), for reports
by slice.

Sent as `site=A,device=CT-2` (in a header, a form field or a CSV cell) or as an object in JSON. They
are recorded with the answer, and may choose a calibrator; the network never sees them. They must
not identify a patient: keys that say so are refused, because the patient has a field of its own, of
which only a hash is stored.
"""

import json
import re
from functools import lru_cache
from typing import Final

from model_store.errors import TagsInvalid

KEYS = 3
CHARACTERS = 64
TEXT_CHARACTERS = 1000  # room for all tags, and for spaces
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_IDENTIFYING: Final = re.compile(  # without "_", "-" and "."
    r"(patient|subject|participant)s?(id|name|number)?|mrn|pid|medicalrecord(number)?|ssn|"
    r"nhs(number)?|accession(number)?|name|firstname|lastname|surname|dob|birthdate|dateofbirth"
)
_EXPECTED = (
    f"send at most {KEYS} as site=A,device=B: keys of letters, digits, '_', '.', '-', values of "
    f"printable characters, 1 to {CHARACTERS} of each."
)


def is_key(text: str) -> bool:
    """Whether a text can be the key of a tag."""
    return _KEY.fullmatch(text) is not None and not _identifies(text)


def _identifies(key: str) -> bool:
    """Whether a key says that its values identify people."""
    return _IDENTIFYING.fullmatch(re.sub("[_.-]", "", key).lower()) is not None


def read_tags(text: str) -> str | None:
    """Read comma-separated key=value pairs into the form that the ledger stores. Raises
    TagsInvalid.

    >>> read_tags("site=A, device=CT-2")
    '{"device": "CT-2", "site": "A"}'
    """
    if len(text) > TEXT_CHARACTERS:
        raise TagsInvalid(f"tags are {len(text):,} characters long; {_EXPECTED}")
    return _read(text)


@lru_cache(
    maxsize=1024
)  # callers send the same few tags with every image; a megabyte at most, because texts are short
def _read(text: str) -> str | None:
    if not text.strip():
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if any(not equals for _, equals, _ in pairs):
        raise TagsInvalid(f"tags are {text[:100]!r}: a pair has no '='; {_EXPECTED}")
    return _canonical([(key.strip(), value.strip()) for key, _, value in pairs])


def tags_of(value: object) -> str | None:
    """Read tags from the object of a JSON item; None without tags. Raises TagsInvalid."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise TagsInvalid(f"tags are an object of texts; {_EXPECTED}")
    return _canonical(list(value.items()))


def _canonical(pairs: list[tuple[str, str]]) -> str:
    for key, value in pairs:  # first: two pairs without a key are not one that is given twice
        if not key:
            raise TagsInvalid(f"a tag has an empty key; {_EXPECTED}")
        if not value:
            raise TagsInvalid(f"tag {key[:100]!r} has an empty value; {_EXPECTED}")
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise TagsInvalid(f"a tag is given twice; {_EXPECTED}")
    if len(tags) > KEYS:
        raise TagsInvalid(f"there are {len(tags)} tags; {_EXPECTED}")
    for key, value in tags.items():
        if not _KEY.fullmatch(key):
            raise TagsInvalid(f"the tag's key {key[:100]!r} cannot be one; {_EXPECTED}")
        if _identifies(key):
            raise TagsInvalid(
                f"tag {key!r} identifies a person. Send the patient as X-Candor-Patient, or as the "
                "field or column `patient`: only a keyed hash of it is stored."
            )
        if (
            len(value) > CHARACTERS
            or not value.isprintable()
            or "\ufffd" in value
            or value == "(other)"
        ):
            raise TagsInvalid(f"tag {key} cannot be {value[:100]!r}; {_EXPECTED}")
    return json.dumps(tags, sort_keys=True)
