"""Which column, or which part of a path, tells patients or slides apart.

Images of one patient err together. They belong into one split, and count as one in an interval.
Training, import, `candor calibrate` and uploads of labels all ask here. A column that is recognized
by its name is used. One that only looks as if it did, or a part of the paths
(`calibration.shared_parts`), is a question for the user.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Final

from calibration.shared_parts import MIN_GROUPS, path_pattern
from calibration.wording import parameter

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
REPEATED: Final = 0.5  # share of rows whose value another row has too


class GroupsUnclear(ValueError):
    """Some images or rows seem to share a patient, and nobody said whether they do."""


def group_of_each(
    columns: Mapping[str, Sequence[str]],
    paths: Sequence[str] = (),
    labels: Sequence[Hashable] = (),
    *,
    called: str = "group",
) -> str | None:
    """The column that tells the patient or slide of each row; None if each row stands alone.

    `columns` have the cells (N,) of what may tell it; `paths` (N,) are as they are printed; what
    follows from `labels` (N,) is the name of a class.

    Raises GroupsUnclear: a column or a part of the paths looks as if it did. The message says
    which, and how the user answers, by the parameter `called`.
    """
    used, asked = find_groups(columns)
    if asked is not None:
        raise GroupsUnclear(column_question(asked, called=called))
    found = path_pattern(paths, labels) if used is None else None
    if found is not None:
        pattern, path = found
        raise GroupsUnclear(
            f"does {group_named(path, pattern)!r} in {path!r} name a patient or slide? Then give "
            f"{parameter('group_pattern', pattern)}, or one of your own if another part does; "
            f"{_declined(called)}"
        )
    return used


def groups_of_images(
    names: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    patients: Sequence[str | None],
    labels: Sequence[Hashable] = (),
    *,
    group: str | None,
    pattern: str | None,
) -> tuple[list[str | None], str | None]:
    """The patient or slide of each image, (N,), None where it is unknown, and the column that told.

    `names` (N,) are paths below the folder, and `patients` (N,) are those of DICOM files, which
    tell if no column does. The user's `pattern` is for names, and `group` is a column or NO_GROUP.

    Raises GroupsUnclear as `group_of_each`; ValueError: there is no such column, or the pattern is
    none or finds nothing.

    >>> groups_of_images(["1/a.png", "2/a.png"], {}, [None, None], group=None, pattern="^([0-9])/")
    (['1', '2'], None)
    """
    if pattern is not None:
        return [group_named(name, pattern) or None for name in names], None
    if group is None:
        if len(set(patients) - {None}) > 1 and find_groups(columns)[0] is None:
            return list(patients), None
        group = group_of_each(columns, names, labels)
    if group is None or group == NO_GROUP:
        return [None] * len(names), None
    if group not in columns:
        told = f"it has {', '.join(columns)}" if columns else "only a table has columns"
        raise ValueError(f"has no column {group!r} for {parameter('group')}; {told}")
    return [cell or None for cell in columns[group]], group


def _declined(called: str) -> str:
    return f"if each stands alone, give {parameter(called, NO_GROUP)}"


def column_question(name: str, *, called: str = "group") -> str:
    """The question about a column that may tell patients apart, with its answers."""
    return (
        f"does the column {name!r} tell patients or slides apart? Then give "
        f"{parameter(called, name)}, so that what belongs to one is not counted as independent; "
        f"{_declined(called)}"
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


def _shared(values: Sequence[str]) -> bool:
    counts = Counter(values)
    repeated = sum(count for count in counts.values() if count > 1)
    return len(counts) >= MIN_GROUPS and repeated >= REPEATED * len(values)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
