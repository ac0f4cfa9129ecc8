r"""The part of a path that tells patients or slides apart, if one does.

A part is a folder, or a piece of a file name between `_`, `.`, `-` and spaces. It looks like a
patient's or slide's where

1. it has a number, and is no date, measure, place or piece of a data set, as `batch_3` is,
2. MIN_GROUPS values of it differ, or two with a word such as patient,
3. images share it: two, if it is a folder or has such a word, and else a tenth of all,
4. it does not follow from the label, as the name of a class does.

The last number of a file name counts images, unless a word or letters say otherwise. Numbers may
begin anew in each folder and with each label. All images are looked at, then those of each label,
since classes may come from different sources.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MIN_GROUPS: Final = 5  # fewer distinct values are a property, such as sex or site
REPEATED: Final = 0.1  # share of file names whose part another one has too
TOLD: Final = 0.9  # share of paths whose part follows from the label, from which it is a class
DEPTH: Final = 4  # numbered pieces of a file name that may name a group, at most

_PERSONS: Final = (
    *("patient", "pat", "subject", "subj", "sub", "participant", "person"),
    *("donor", "animal", "mouse", "case"),
)
_SPECIMENS: Final = (
    *("slide", "wsi", "specimen", "biopsy", "lesion"),
    *("exam", "visit", "study", "series", "scan", "eye"),
)

_MARK: Final = "[_. -]"
_DAY: Final = r"(?:19|20)\d\d[-/.]?(?:0[1-9]|1[0-2])(?:[-/.]?(?:0[1-9]|[12]\d|3[01]))"
_DATE: Final = rf"{_DAY}(?:[T_. -]*(?:at)?[T_. -]*\d\d(?:[_. -]?\d\d){{0,2}})?|(?:19|20)\d\d-\d\d"
_PLACE: Final = (
    r"(?:frames?|slices?|tiles?|patch(?:es)?|views?|parts?|batch(?:es)?|folds?|chunks?|shards?"
    r"|splits?|train(?:ing)?|test|val(?:idation)?|(?:sub)?sets?|data(?:set)?|dirs?|folders?|disks?"
    r"|sites?|cent(?:er|re)s?|hospitals?|clinics?|scanners?|devices?|cameras?|class(?:es)?|labels?"
    r"|grades?|stages?|types?|levels?|categor(?:y|ies))[_. -]?\d+"
)
_MEASURE: Final = (
    r"(?:[xyz]|row|col|pos|rot|aug|age|zoom|deg)\d+|\d+(?:x\d*|px|mm|um|kv|deg|[ymwd]|yo)"
)
_OTHER: Final = re.compile(rf"(?i)(?:^|{_MARK})(?:{_DATE}|{_PLACE}|{_MEASURE})$")
_OTHER_FOLDER: Final = re.compile(
    rf"(?i)^(?:{_DATE}|(?:19|20)\d\d|{_PLACE}|{_MEASURE}"
    r"|(?:images?|imgs?|photos?|pictures?)[_. -]?\d+)$"
)
_SIDE: Final = "(?:left|right|[lr]|o[ds]|frontal|lateral|ap|pa|cc|mlo)"


def path_pattern(paths: Sequence[str], labels: Sequence[Hashable] = ()) -> tuple[str, str] | None:
    r"""The part of `paths` (N,) that tells patients apart, as this module says; None if none does.

    `labels` are (N,), or none. Returned are a regular expression, whose first group is the part,
    and a path whose part another path has, too. The expression finds all of a path that lacks the
    part. Words such as patient come first, then folders, the topmost first, then file names.

    >>> path_pattern([f"cat/00{patient}/{image}.png" for patient in range(9) for image in range(4)])
    ('^[^/]+/([^/]+)/', 'cat/000/0.png')
    >>> path_pattern([f"p{patient}_{image}.png" for patient in range(9) for image in range(4)])
    ('(?:^|/)([^/\\d]*\\d[^/_. -]*)[_. -][^/]*\\.\\w+$', 'p0_0.png')
    >>> path_pattern([f"image_{image}.png" for image in range(36)]) is None
    True
    """
    for sign in _signs(paths):
        matches = [re.search(sign.pattern, path) for path in paths]
        for chosen in _sets(labels, len(paths)):
            found = [match for at in chosen if (match := matches[at])]
            told = [labels[at] for at in chosen if matches[at]] if labels else [None] * len(found)
            shared = sign.shared(found, told)
            if 2 * len(found) >= len(chosen) and shared is not None:
                return (sign.pattern if all(matches) else _or_alone(sign.pattern)), shared
    return None


def are_persons(names: Sequence[str]) -> bool:
    """Whether all names are of patients: a word such as patient with a number.

    >>> are_persons(["patient1", "patient2"]), are_persons(["grade1", "grade2"])
    (True, False)
    """
    return all(any(re.fullmatch(_numbered(word), name) for word in _PERSONS) for name in names)


@dataclass(frozen=True)
class _Sign:
    """A part of paths, and what its values must be to look like patients or slides.

    Values that `besides` matches are something else. At least `groups` values differ, and more than
    a `share` of paths have a value that another path has, too.
    """

    pattern: str
    besides: re.Pattern[str] = _OTHER
    groups: int = MIN_GROUPS
    share: float = 0.0

    def shared(self, found: Sequence[re.Match[str]], labels: Sequence[Hashable]) -> str | None:
        """A path whose part another path has; None if parts do not look like patients."""
        values = [match[1] for match in found]
        if len(set(values)) < self.groups or not self._are_numbered(set(values)):
            return None
        keys = [self._key(match, label) for match, label in zip(found, labels, strict=True)]
        count_of = Counter(keys)
        shared = [match.string for match, key in zip(found, keys, strict=True) if count_of[key] > 1]
        if len(shared) <= self.share * len(keys) or _follow(values, labels):
            return None
        return shared[0]

    def _are_numbered(self, values: set[str]) -> bool:
        numbered = [
            each for each in values if re.search(r"\d", each) and not self.besides.search(each)
        ]
        return 2 * len(numbered) > len(values)

    def _key(self, match: re.Match[str], label: Hashable) -> Hashable:
        """What images of one patient have in common; names are counted in a folder and label."""
        folder, _, _ = match.string.rpartition("/")
        if match.end(1) <= len(folder):
            return match[1]
        return None if self.groups < MIN_GROUPS else folder[: match.start()], label, match[1]


def _signs(paths: Sequence[str]) -> Iterator[_Sign]:
    """From the coarsest to the finest."""
    text = "\n".join(paths).casefold()
    for word in _PERSONS:
        if word in text:
            yield _Sign(_numbered(word), groups=2)
    for depth in range(max((path.count("/") for path in paths), default=0)):
        yield _Sign(f"^{'[^/]+/' * depth}([^/]+)/", _OTHER_FOLDER)
    for word in _SPECIMENS:
        if word in text:
            yield _Sign(_numbered(word))
    yield from (_Sign(pattern, share=REPEATED) for pattern in _name_patterns(paths))


def _numbered(word: str) -> str:
    return rf"(?i)(?<![a-z])({word}{_MARK}?[a-z]?\d+)"


def _name_patterns(paths: Sequence[str]) -> Iterator[str]:
    """Names up to a number, numbers with a side or its folder, and pieces such as P012."""
    ending = r"\.\w+" if all(re.search(r"\.\w+$", path) for path in paths) else ""
    number, start = r"[^/\d]*\d[^/_. -]*", "(?:^|/)"
    for depth in range(DEPTH):
        yield rf"{start}({f'{number}{_MARK}' * depth}{number}){_MARK}[^/]*{ending}$"
    yield rf"{start}([^/\d]*\d+)[A-Za-z]{{1,5}}{ending}$"
    yield rf"(?i){start}{_SIDE}{_MARK}?(\d+){ending}$"
    yield rf"(?i){start}{_SIDE}/([^/]*\d[^/]*){ending}$"
    piece = r"(?=[^/_. -]{3})([A-Za-z]+\d[^/_. -]*|\d+[A-Za-z][^/_. -]*)"
    for depth in range(1, DEPTH):
        yield rf"{start}{f'[^/_. -]+{_MARK}' * depth}{piece}(?:{_MARK}[^/]*)?{ending}$"


def _sets(labels: Sequence[Hashable], count: int) -> list[Sequence[int]]:
    """All rows, and those of each label."""
    rows_of: dict[Hashable, list[int]] = {}
    for at, label in enumerate(labels):
        rows_of.setdefault(label, []).append(at)
    return [range(count), *rows_of.values()]


def _follow(values: Sequence[str], labels: Sequence[Hashable]) -> bool:
    """Whether a label tells the value, as it does the name of its class."""
    values_of: dict[Hashable, list[str]] = {}
    for value, label in zip(values, labels, strict=True):
        values_of.setdefault(label, []).append(value)
    told = sum(Counter(each).most_common(1)[0][1] for each in values_of.values())
    return told >= TOLD * len(values)


def _or_alone(pattern: str) -> str:
    """The pattern, or all of a path where it finds nothing."""
    flag, body = ("(?i)", pattern[4:]) if pattern.startswith("(?i)") else ("", pattern)
    inside = body[1:] if body.startswith("^") else f".*?{body}"
    return f"{flag}^(?:{inside}|.*)"
