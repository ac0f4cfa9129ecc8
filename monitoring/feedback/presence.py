"""Labels of findings as people write them: by finding, or as a list with what was looked for.

A blank is a missing label, never a negative one. So a list of findings needs the set that the
reader looked for: what it does not name is absent then, and without that set nobody knows.
"""

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from calibration.calibrators.finding_answers import ABSENT_PRESENT
from monitoring.errors import FeedbackInvalid, brief
from monitoring.feedback.items import NO_FINDING, OTHERS
from monitoring.http.fields import ID_LIMIT
from monitoring.ledger.watched_version import UNCERTAIN

Presence: TypeAlias = bool | float | str | None
LookedFor: TypeAlias = Annotated[
    str,
    Meta(
        max_length=ID_LIMIT,
        description="the findings that the reader looked for, separated by |, or * for all: those "
        "that label does not name are absent; blank: nothing is known",
        examples=["*"],
    ),
]
FINDINGS_LIMIT: Final = 1_000  # in one item
_ABSENT, _PRESENT = ABSENT_PRESENT
_SAID: Final = {1.0: _PRESENT, 0.0: _ABSENT, -1.0: UNCERTAIN}
_WORDS: Final = {
    **{name: name for name in (*ABSENT_PRESENT, UNCERTAIN)},
    **{"true": _PRESENT, "false": _ABSENT},
}


def read_labels(
    label: str | None, labels: Mapping[str, Presence] | None, looked_for: str | None
) -> tuple[str, dict[str, str] | None]:
    """Return a class and None, or '' and "present", "absent" or "uncertain" by finding.

    Raises FeedbackInvalid.

    >>> read_labels(None, {"Edema": 1, "Mass": "0", "Nodule": None, "Hernia": -1}, None)
    ('', {'Edema': 'present', 'Mass': 'absent', 'Hernia': 'uncertain'})
    >>> read_labels("Edema|Mass", None, "*")
    ('', {'Edema': 'present', 'Mass': 'present', '*': 'absent'})
    >>> read_labels("Edema", None, " ")  # nobody said what was looked for
    ('', {})
    """
    if labels is not None:
        if label is not None or looked_for is not None:
            raise FeedbackInvalid("Give 'labels' alone, or 'label' with 'looked_for'.")
        read = {name: _read(name, value) for name, value in labels.items()}
        found = {name: said for name, said in read.items() if said is not None}
    elif looked_for is not None:
        found = _listed(_names(label or ""), _names(looked_for)) if looked_for.strip() else {}
    elif label is None:
        raise FeedbackInvalid("Give 'label', or 'labels' of findings.")
    else:
        return label, None
    if len(found) > FINDINGS_LIMIT:
        raise FeedbackInvalid(f"An item labels at most {FINDINGS_LIMIT:,} findings.")
    return "", found


def _read(name: str, value: Presence) -> str | None:
    """The label of one finding; None if it is missing."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        said = _WORDS.get(value.strip().lower())
        if said is None:
            try:
                said = _SAID.get(float(value))
            except ValueError:
                said = None
    else:
        said = _SAID.get(float(value))
    if said is None:
        raise FeedbackInvalid(
            f"The label of {brief(name)} must be 1, 0, -1, present, absent, uncertain or blank; "
            f"got {brief(str(value))}."
        )
    return said


def _listed(there: list[str], looked_for: list[str]) -> dict[str, str]:
    found = dict.fromkeys(looked_for, _ABSENT)
    if OTHERS not in found and NO_FINDING not in found:
        there = [name for name in there if name != NO_FINDING]
    for name in there:
        if name not in found and OTHERS not in found:
            raise FeedbackInvalid(
                f"'label' names {brief(name)}, which 'looked_for' does not; name it there, or "
                "give *."
            )
        found[name] = _PRESENT
    return {name: found[name] for name in [*there, *found]}


def _names(text: str) -> list[str]:
    return [name for part in text.split("|") if (name := part.strip())]
