"""Which column, or which part of a path, tells patients or slides apart.

Images of one patient err together. They belong into one split, and count as one in an interval.
Training, import, `candor calibrate` and uploads of labels all ask here. A column that is recognized
by its name is used. One that only looks as if it did, or a part of the paths, is a question for the
user.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# From the coarsest to the finest: of two columns, the first keeps more images together.
_WORDS: Final = (
    r"groups?|clusters?",
    r"patients?|pat|subj|subjects?|participants?|persons?|people|mrn|pid|pt|medical_?record"
    r"|donors?|animals?|mouse|mice|volunteers?",
    r"cases?",
    r"encounters?|visits?|accessions?|exams?|examinations?|stud(?:y|ies)",
    r"slides?|wsi|specimens?|biops(?:y|ies)|blocks?|lesions?|series",
)
_BEFORE: Final = r"(?:(?:anon|pseudo|de_?id|dicom|hash|hospital|global|orig)[a-z]*_)?"
_AFTER: Final = (
    r"(?:_?(?:ids?|no|nr|num|numbers?|codes?|keys?|hash|name|index|(?:instance_?)?uu?id))?"
)
_NAMES: Final = tuple(re.compile(f"{_BEFORE}(?:{words}){_AFTER}") for words in _WORDS)
_ROW: Final = re.compile(f"(?:rows?|images?|samples?|instances?|observations?|obs){_AFTER}")
_IDENTIFIER: Final = re.compile(r"(?=.*\d)(?=.*[^\W\d]).{3,}|\d{4,}")
_DATE: Final = re.compile(r"\d{4}[-/.]?\d{2}[-/.]?\d{2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}.*")
NO_GROUP: Final = "none"  # the user's word for images or rows that stand alone
_DECLINE: Final = f"if each stands alone, give --group {NO_GROUP}"
_PART: Final = "[^/_. -]+"
_MARK: Final = "[_. -]"
_DAY: Final = r"(?:19|20)\d\d(?:[-/.]?(?:0[1-9]|1[0-2])[-/.]?(?:0[1-9]|[12]\d|3[01]))"
_DATED: Final = re.compile(rf"(?:^|[_. -]){_DAY}$")
_PARTS_OF_DATA: Final = re.compile(  # folders that divide a data set, and name no patient
    r"(?i)^(?:(?:images?|imgs?|photos?|pictures?|frames?|slices?|tiles?|patch(?:es)?|views?|parts?"
    r"|batch(?:es)?|folds?|chunks?|shards?|splits?|train(?:ing)?|test|val(?:idation)?|(?:sub)?sets?"
    r"|data(?:set)?|dirs?|folders?|disks?|sites?|cent(?:er|re)s?|hospitals?|clinics?|scanners?"
    r"|devices?|cameras?|class(?:es)?|labels?|grades?|stages?|types?|levels?|categor(?:y|ies))"
    rf"[_. -]?\d+|\d+x|(?:19|20)\d\d|{_DAY})$"
)


def _numbered(words: str) -> tuple[str, ...]:
    return tuple(rf"(?i)(?<![a-z])({word}[_. -]?[a-z]?\d+)" for word in words.split())


_PERSONS: Final = _numbered(
    "patient pat subject subj sub participant person donor animal mouse case"
)
_SPECIMENS: Final = _numbered("slide wsi specimen biopsy lesion exam visit study series scan eye")
_SIDED: Final = r"(?:^|/)([^/\d]*\d+)[A-Za-z]{1,5}(?:\.[^/]*)?$"  # 12L.png and 12R.png
MIN_GROUPS: Final = 5  # fewer distinct values are a property, such as sex or site
REPEATED: Final = 0.5  # share of rows whose value another row has too
REPEATED_NAMES: Final = 0.25  # the same for parts of file names
TOLD: Final = 0.9  # share of rows whose value follows from the label, from which it is a class
DEPTH: Final = 4  # parts of a file name that may name a group, at most


class GroupsUnclear(ValueError):
    """Some images or rows seem to share a patient, and nobody said whether they do."""


def group_of_each(
    columns: Mapping[str, Sequence[str]],
    paths: Sequence[str] = (),
    labels: Sequence[Hashable] = (),
) -> str | None:
    """The column that tells the patient or slide of each row; None if each row stands alone.

    `columns` have the cells (N,) of what may tell it; `paths` (N,) are as they are printed; what
    follows from `labels` (N,) is the name of a class.

    Raises GroupsUnclear: a column or a part of the paths looks as if it did. The message says
    which, and how the user answers.
    """
    used, asked = find_groups(columns)
    if asked is not None:
        raise GroupsUnclear(column_question(asked))
    pattern = path_pattern(paths, labels) if used is None else None
    if pattern is not None:
        path = next(each for each in paths if group_named(each, pattern) != each)
        raise GroupsUnclear(
            f"does {group_named(path, pattern)!r} in {path!r} name a patient or slide, of which "
            f"there are several? Then give --group-pattern '{pattern}'; {_DECLINE}"
        )
    return used


def column_question(name: str) -> str:
    """The question about a column that may tell patients apart, with its answers."""
    return (
        f"does the column {name!r} tell patients or slides apart? Then give --group {name!r}, so "
        f"that what belongs to one is not counted as independent; {_DECLINE}"
    )


def group_column(names: Sequence[str]) -> str | None:
    """The column that tells patients, cases or slides apart by its name; the coarsest of several.

    >>> group_column(["path", "label", "Slide ID", "MRN"]), group_column(["path", "age", "label"])
    ('MRN', None)
    """
    for pattern in _NAMES:
        for name in names:
            if pattern.fullmatch(_plain(name)):
                return name
    return None


def find_groups(columns: Mapping[str, Sequence[str]]) -> tuple[str | None, str | None]:
    """The column to use as groups, and one to ask about; None where there is none.

    Used is what `group_column` recognizes, if it is named group or has MIN_GROUPS values.
    Otherwise a column to ask about is one whose values `repeats` recognizes, or that has the name
    but few values, or that numbers what was predicted several times, as in repeated
    cross-validation. A column without any says nothing.

    >>> mrn, site = ["7001", "7002", "7003", "7004", "7005"] * 2, ["A"] * 5 + ["B"] * 5
    >>> find_groups({"site": site, "mrn": mrn}), find_groups({"site": site, "code": mrn})
    (('mrn', None), (None, 'code'))
    >>> find_groups({"rowIndex": ["1", "2", "3", "4", "5"] * 2})
    (None, 'rowIndex')
    """
    named = group_column(list(columns))
    if named is not None:
        distinct = len({value for value in columns[named] if value})
        if distinct >= (1 if _plain(named) == "group" else MIN_GROUPS):
            return named, None
        if not distinct:
            named = None
    rest = (
        name
        for name, values in columns.items()
        if name != named and (repeats(values) or (_ROW.fullmatch(_plain(name)) and _shared(values)))
    )
    return None, next(rest, named)


def repeats(values: Sequence[str]) -> bool:
    """Whether values (N,) are identifiers that repeat, as those of patients with several images.

    An identifier has letters and digits, or four digits and more; dates are none.

    >>> repeats(["P01", "P01", "P02", "P02", "P03", "P03", "P04", "P04", "P05"])
    True
    >>> repeats(["61", "61", "62", "62", "63", "63", "64", "64", "65"])  # ages
    False
    """
    given = [value for value in values if value]
    identifiers = all(_IDENTIFIER.fullmatch(each) and not _DATE.fullmatch(each) for each in given)
    return identifiers and _shared(given)


def group_named(path: str, pattern: str) -> str:
    """What `pattern` finds in a path as it is printed: its first group, or all of it.

    Raises ValueError: it is no regular expression, or finds nothing.

    >>> group_named("cat/p12_3.png", "(p[0-9]+)_"), group_named("cat/7/3.png", "/([^/]+)/")
    ('p12', '7')
    """
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise ValueError(
            f"the group pattern {pattern!r} is no regular expression: {error}"
        ) from error
    if match is None:
        raise ValueError(
            f"the group pattern {pattern!r} finds nothing in {path!r}; every image needs a group"
        )
    return (match.re.groups and match[1]) or match[0]


def path_pattern(paths: Sequence[str], labels: Sequence[Hashable] = ()) -> str | None:
    r"""A regular expression whose first group is a part of each path that repeats as patients do;
    None if no part does.

    Looked for are numbered words such as patient7, then a folder, the topmost first, then a part
    of the file name. What follows from `labels` (N,) is the name of a class. Where only most paths
    have the part, the others are groups of their own.

    >>> path_pattern([f"p{patient}_{image}.png" for patient in range(9) for image in range(4)])
    '([^/_. -]+)[_. -][^/]*\\.\\w+$'
    >>> path_pattern([f"cat/00{patient}/{image}.png" for patient in range(9) for image in range(4)])
    '^[^/]+/([^/]+)/'
    >>> path_pattern([f"image_{image}.png" for image in range(36)]) is None
    True
    """
    for sign in _signs(paths):
        matches = [re.search(sign.pattern, path) for path in paths]
        found = [(match, at) for at, match in enumerate(matches) if match]
        values = [match[1] for match, _ in found]
        told = [labels[at] for _, at in found] if labels else [None] * len(found)
        keys = [sign.key(match, label) for (match, _), label in zip(found, told, strict=True)]
        if (
            2 * len(found) >= len(paths)
            and _are_numbered(values, besides=sign.besides)
            and len(set(values)) >= sign.groups
            and _repeated(keys) > sign.share * len(keys)
            and not (labels and _follow(values, told))
        ):
            return sign.pattern if len(found) == len(paths) else _or_alone(sign.pattern)
    return None


def are_persons(names: Sequence[str]) -> bool:
    """Whether all names are of patients: a word such as patient with a number.

    >>> are_persons(["patient1", "patient2"]), are_persons(["grade1", "grade2"])
    (True, False)
    """
    return all(any(re.fullmatch(pattern, name) for pattern in _PERSONS) for name in names)


@dataclass(frozen=True)
class _Sign:
    """A part of paths, and what its values must be to look like patients or slides.

    `besides` matches values that are something else. At least `groups` values differ, and more than
    a `share` of rows have a value that another row has, too: in the same folder, if names may be
    `counted_anew` in each, or else of the same label.
    """

    pattern: str
    besides: re.Pattern[str]
    groups: int = MIN_GROUPS
    share: float = 0.0
    counted_anew: bool = True

    def key(self, match: re.Match[str], label: Hashable) -> Hashable:
        """What images of one patient have in common; numbers may begin anew in each folder."""
        folder, _, _ = match.string.rpartition("/")
        if match.end(1) <= len(folder):
            return match[1]
        return (folder if self.counted_anew else label), match[1]


def _signs(paths: Sequence[str]) -> Iterator[_Sign]:
    """From the coarsest to the finest."""
    deepest = max((path.count("/") for path in paths), default=0)
    rest = r"[^/]*\.\w+$" if all(re.search(r"\.\w+$", path) for path in paths) else "[^/]*$"
    for pattern in _PERSONS:
        yield _Sign(pattern, _DATED, groups=2, counted_anew=False)
    for depth in range(deepest):
        yield _Sign(f"^{'[^/]+/' * depth}([^/]+)/", _PARTS_OF_DATA)
    for pattern in _SPECIMENS:
        yield _Sign(pattern, _DATED)
    for depth in range(1, DEPTH + 1):
        beginning = f"({_MARK.join([_PART] * depth)}){_MARK}{rest}"
        yield _Sign(beginning, _DATED, share=REPEATED_NAMES)
    yield _Sign(_SIDED, _DATED, share=REPEATED_NAMES)


def _are_numbered(values: Sequence[str], *, besides: re.Pattern[str]) -> bool:
    """Whether most values have a number, other than those of what `besides` matches."""
    distinct = set(values)
    numbered = [each for each in distinct if re.search(r"\d", each) and not besides.search(each)]
    return 2 * len(numbered) > len(distinct)


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


def _shared(values: Sequence[str]) -> bool:
    return len(set(values)) >= MIN_GROUPS and _repeated(values) >= REPEATED * len(values)


def _repeated(values: Sequence[Hashable]) -> int:
    """How many rows have a value that another row has, too."""
    return sum(count for count in Counter(values).values() if count > 1)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
