"""Which tags have a drift watch of their own, how far each may be off, and how the false alarms are
shared out.

Half of the false alarms that the average run length allows a version, or a finding of it, is for
the watch of all answers, the other half for the watched keys, in equal parts. Within a key nothing
need be divided: each label counts for one value at most, so all values together see no more labels
than the whole, and the expected number of their false alarms adds up to the key's part
(`calibration.drift.detector`: a detector of n labels raises at most n / threshold on average).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from calibration.drift.state import DriftSettings
from model_store.errors import TagsInvalid
from model_store.tags import KEYS, is_key
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import DOUBTFUL

TAGS_PART = 0.5  # of the false alarms, for all watched keys together
TAG_PREFIX: Final = "tag:"


@dataclass(frozen=True)
class TagSettings:
    """The tags to watch.

    Attributes:
        keys: of tags, at most three, such as `site`; each value of a key gets a watch of its own.
        tolerances: by key (`site`) or value (`site=B`), in [0, 1]; others have the tolerance of
            the whole.
    """

    keys: tuple[str, ...] = ()
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises TagsInvalid."""
        wrong = [key for key in self.keys if not is_key(key)]
        if wrong or len(set(self.keys)) < len(self.keys) or len(self.keys) > KEYS:
            raise TagsInvalid(
                f"the tags to watch are {list(self.keys)}; name at most {KEYS} different keys of "
                "tags."
            )
        for name, tolerance in self.tolerances.items():
            if name.partition("=")[0] not in self.keys:
                raise TagsInvalid(
                    f"{name!r} has a tolerance, but its key is not among the tags to watch."
                )
            if not (math.isfinite(tolerance) and 0 <= tolerance <= 1):
                raise TagsInvalid(
                    f"the tolerance of {name!r} is {tolerance}; it must be in 0 to 1."
                )

    def watches(self, name: str) -> bool:
        """Whether a slice of the ledger, such as `tag:site=B`, has a watch of its own."""
        return name.startswith(TAG_PREFIX) and _key(name) in self.keys

    def of_everything(self, settings: DriftSettings) -> DriftSettings:
        """Return the settings of the watch of all answers; their part is that of the version."""
        return replace(settings, part=settings.part * (1 - TAGS_PART if self.keys else 1.0))

    def of_slice(self, settings: DriftSettings, name: str) -> DriftSettings:
        """Return the settings of the watch of a tag's slice, from those of all answers."""
        tag, key = tag_of(name), _key(name)
        tolerance = self.tolerances.get(tag, self.tolerances.get(key, settings.tolerance))
        part = settings.part / (1 - TAGS_PART) * TAGS_PART / len(self.keys)
        return replace(settings, part=part, tolerance=tolerance)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TagSettings":
        return cls(tuple(data["keys"]), dict(data["tolerances"]))


def tag_of(name: str) -> str:
    """Return the tag of a slice.

    >>> tag_of("tag:site=B")
    'site=B'
    """
    return name.removeprefix(TAG_PREFIX)


def watch_of(tag: str | None) -> str:
    """Return the slice of a watch: of a tag, of doubtful images if the tag is DOUBTFUL, or of all.

    >>> watch_of("site=B"), watch_of("scope:doubtful"), watch_of(None)
    ('tag:site=B', 'scope:doubtful', '')
    """
    return EVERYTHING if tag is None else tag if tag == DOUBTFUL else slice_of(tag)


def slice_of(tag: str) -> str:
    return f"{TAG_PREFIX}{tag}"


def _key(name: str) -> str:
    return tag_of(name).partition("=")[0]
