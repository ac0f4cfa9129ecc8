"""From a layout's listing to a data set: check the files, draw missing splits, refuse leakage."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.grouping import (
    NO_GROUP,
    GroupsUnclear,
    find_groups,
    group_named,
    group_of_each,
)
from calibration.sampling import joined
from training.datasets.dataset import Dataset, FileImages, Labels, Split, fingerprint, label_counts
from training.datasets.errors import BadDataset, CorruptDataset, LeakingSplits, UnclearGroups
from training.datasets.inspection import Facts, giveaways, inspect
from training.datasets.label_kind import LabelKind
from training.datasets.records import SPLIT_NAMES, Excluded, Listing, LoadedFrom, Record, SplitName
from training.datasets.report import overlaps
from training.progress import Progress, silent

VAL_SHARE = 0.2  # of what is not test: the paper's 4:1
TEST_SHARE = 0.2
DIVIDED = 4  # images of a class from which each of three drawn splits gets one
MIN_TRAIN = 10  # images of a class in train, below which a note says so


def assemble(
    listing: Listing, options: LoadedFrom, *, cache: Path | None, progress: Progress = silent
) -> Dataset:
    """Build the data set that `listing` describes. The folder `cache` keeps the results of checking
    files.

    Raises CorruptDataset, LeakingSplits, or BadDataset if splits cannot be used or drawn.
    """
    paths = [record.path for record in listing.records]
    key = hashlib.sha256(str(listing.root.resolve()).encode()).hexdigest()[:16]
    store = cache / f"{key}.db" if cache else None
    facts = inspect(paths, frames=options.frames, cache=store, progress=progress)
    records, corrupt = _usable(listing, facts, limit=options.max_corrupt)
    records, notes = _grouped(listing, records, facts, options)
    records = _drawn(listing, records, facts, seed=options.seed)
    splits = _splits(listing, records, facts)
    used = [facts[record.path] for record in records]
    notes += small_classes(
        listing.root,
        listing.classes,
        splits,
        kind=listing.kind,
        drawn=not any(each.split == "val" for each in listing.records),
    )
    notes += giveaways(listing, records, facts)
    dataset = Dataset(
        name=listing.name,
        classes=listing.classes,
        channels=3 if any(file.channels == 3 for file in used) else 1,
        size=int(np.median([max(file.width, file.height) for file in used])),
        splits=splits,
        fingerprint=fingerprint(listing.classes, splits),
        layout=listing.layout,
        window=options.window,
        frames=options.frames,
        excluded=corrupt,
        notes=(*listing.notes, *notes),
    )
    return check_leakage(dataset, listing.root, published=False, allow=options.allow_leakage)


def check_leakage(dataset: Dataset, source: Path, *, published: bool, allow: bool) -> Dataset:
    """Check that no two splits share images or groups.

    For published splits, and with `allow`, the returned data set has a note about what they share.
    Otherwise sharing raises LeakingSplits.
    """
    found = overlaps(dataset.splits)
    if not found:
        return dataset
    if not published and not allow:
        raise LeakingSplits(source, found)
    why = (
        "the published splits share images, which flatters figures on them"
        if published
        else "allowed leakage"
    )
    return replace(dataset, notes=(*dataset.notes, *(f"{why}: {each}" for each in found)))


def _usable(
    listing: Listing, facts: dict[Path, Facts], *, limit: float
) -> tuple[list[Record], tuple[Excluded, ...]]:
    """Readable records and corrupt files. Raises CorruptDataset if those exceed `limit`."""
    if not listing.records:
        raise BadDataset(listing.root, f"holds no labeled images in the layout {listing.layout!r}")
    reasons = {each.path: facts[each.path].reason for each in listing.records}
    corrupt = tuple(
        Excluded(path, reason) for path, reason in reasons.items() if reason is not None
    )
    if len(corrupt) > limit * len(reasons):
        raise CorruptDataset(listing.root, corrupt, total=len(reasons), limit=limit)
    return [each for each in listing.records if reasons[each.path] is None], corrupt


def _grouped(
    listing: Listing, records: list[Record], facts: dict[Path, Facts], options: LoadedFrom
) -> tuple[list[Record], list[str]]:
    """Set each record's group, as the user says, else by a table's column or the DICOM PatientID.

    Raises UnclearGroups if other columns, or paths, look as if they told patients apart.
    """
    names = [_below(listing.root, each.path) for each in records]
    pattern, column, notes = options.group_pattern, options.group, list[str]()
    if pattern is not None:
        return _with_groups(records, [_match(name, pattern) for name in names]), []
    if column == NO_GROUP:
        return records, []
    columns = {each: [record.cells.get(each, "") for record in records] for each in listing.columns}
    if column is None:
        patients = [facts[each.path].patient for each in records]
        known = len(set(patients) - {None})
        if known > 1 and find_groups(columns)[0] is None:
            return _with_groups(records, patients), []
        if known == 1:
            notes.append("all DICOM files have the same PatientID, so it is not used as a group")
        try:
            column = group_of_each(columns, names, _told(records))
        except GroupsUnclear as error:
            raise UnclearGroups(listing.root, str(error)) from error
    elif column not in columns:
        told = f"it has {', '.join(columns)}" if columns else "only a table has columns"
        raise BadDataset(listing.root, f"has no column {column!r} for --group; {told}")
    if column is None:
        return records, notes
    if column != "group":
        notes.append(
            f"the column {column!r} keeps images together, so that no patient is in two splits"
        )
    return _with_groups(records, columns[column]), notes


def _with_groups(records: Sequence[Record], groups: Sequence[str | None]) -> list[Record]:
    return [replace(each, group=group or None) for each, group in zip(records, groups, strict=True)]


def _told(records: Sequence[Record]) -> list[int]:
    """The class of each record; nothing of findings."""
    return [each.label for each in records if isinstance(each.label, int)]


def _match(name: str, pattern: str) -> str:
    try:
        return group_named(name, pattern)
    except ValueError as error:
        raise BadDataset(name, str(error)) from error


def _below(root: Path, path: Path) -> str:
    """The path below `root`; the whole path of a file that a table has elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _drawn(
    listing: Listing, records: list[Record], facts: dict[Path, Facts], *, seed: int
) -> list[Record]:
    """Give each record a split: keep those given, draw val from train if missing, or draw all."""
    given = {each.split for each in records}
    if given == {"train", "val", "test"}:
        return records
    if given not in ({None}, {"train", "test"}):
        names = ", ".join(sorted(each or "(none)" for each in given))
        raise BadDataset(
            listing.root,
            f"has the splits {names}; expected train and test, train, val and test, or none",
        )
    units = joined([each.group for each in records], [facts[each.path].digest for each in records])
    labels = _labels(listing, records)
    splits = np.array([each.split or "train" for each in records], dtype=object)
    for name, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        if name not in given:
            pool = np.flatnonzero(splits == "train")
            _, part = listing.kind.parts(labels[pool], units[pool], (1 - share, share), seed=seed)
            splits[pool[part]] = name
    return [replace(each, split=split) for each, split in zip(records, splits, strict=True)]


def _labels(listing: Listing, records: Sequence[Record]) -> Labels:
    """Classes int64 (N,), or findings float64 (N, K)."""
    shape = (len(records), *np.shape(listing.records[0].label))  # of no records too
    return np.array([each.label for each in records], listing.kind.dtype).reshape(shape)


def _splits(
    listing: Listing, records: list[Record], facts: dict[Path, Facts]
) -> dict[SplitName, Split]:
    """The splits, with one numbering of groups; an image of unknown group is one of its own."""
    grouped = any(each.group is not None for each in records)
    keys = sorted({_unit(each) for each in records}) if grouped else []
    numbers = {key: number for number, key in enumerate(keys)}
    return {
        name: _split(listing, [each for each in records if each.split == name], facts, numbers)
        for name in SPLIT_NAMES
    }


def _unit(record: Record) -> tuple[str, str]:
    return ("group", record.group) if record.group is not None else ("image", str(record.path))


def _split(
    listing: Listing,
    records: Sequence[Record],
    facts: dict[Path, Facts],
    numbers: dict[tuple[str, str], int],
) -> Split:
    paths = [each.path for each in records]
    return Split(
        FileImages(paths, [facts[path].digest for path in paths]),
        _labels(listing, records),
        np.array([numbers[_unit(each)] for each in records], np.int64) if numbers else None,
        tuple(_below(listing.root, path) for path in paths),
    )


def small_classes(
    source: Path,
    classes: Sequence[str],
    splits: dict[SplitName, Split],
    *,
    kind: LabelKind,
    drawn: bool = False,
) -> list[str]:
    """Notes on small classes or findings.

    A `drawn` validation split may lack a class that has too few images for three splits. Raises
    BadDataset if a split is empty or lacks a class, or train has none with or none without a
    finding.
    """
    counts = {name: label_counts(split.labels, len(classes)) for name, split in splits.items()}
    tiny = {
        name
        for label, name in enumerate(classes)
        if drawn and sum(each[label] for each in counts.values()) < DIVIDED
    }
    for name, split in splits.items():
        absent = [
            answer
            for answers, _, known in kind.questions(classes, split.labels)
            for answer, images in zip(answers, label_counts(known, len(answers)), strict=True)
            if not images and not (name == "val" and answer in tiny)
        ]
        if absent and (name in kind.needed_in or not counts[name].any()):
            raise BadDataset(
                source,
                f"{name} has no image of {', '.join(absent)}; add images or groups, or provide "
                f"your own split that has some, or merge or remove the class{kind.advice}",
            )
    small = [
        f"{each!r} ({', '.join(f'{counts[name][label]} in {name}' for name in splits)})"
        for label, each in enumerate(classes)
        if counts["train"][label] < MIN_TRAIN
        or min(counts["val"][label], counts["test"][label]) < kind.fewest
    ]
    note = kind.too_few.format(small=", ".join(small), fewest=kind.fewest)
    return [note] if small else []
