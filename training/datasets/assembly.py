"""From a layout's listing to a data set: check the files, draw missing splits, refuse leakage."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.grouping import group_named, prefix_pattern, repeats
from calibration.sampling import joined
from training.datasets.dataset import Dataset, FileImages, Labels, Split, fingerprint, label_counts
from training.datasets.errors import BadDataset, CorruptDataset, LeakingSplits
from training.datasets.inspection import Facts, giveaways, inspect
from training.datasets.label_kind import LabelKind
from training.datasets.records import SPLIT_NAMES, Excluded, Listing, LoadedFrom, Record, SplitName
from training.datasets.report import overlaps
from training.progress import Progress, silent

VAL_SHARE = 0.2  # of what is not test: the paper's 4:1
TEST_SHARE = 0.2
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
    records, notes = _grouped(listing, records, facts, pattern=options.group_pattern)
    records = _drawn(listing, records, facts, seed=options.seed)
    splits = _splits(listing, records, facts)
    used = [facts[record.path] for record in records]
    notes += small_classes(listing.root, listing.classes, splits, kind=listing.kind)
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
    listing: Listing, records: list[Record], facts: dict[Path, Facts], *, pattern: str | None
) -> tuple[list[Record], list[str]]:
    """Set each record's group: by `pattern`, else by the layout, else by the DICOM PatientID."""
    if pattern is not None:
        return [
            replace(each, group=_match(listing.root, each.path, pattern)) for each in records
        ], []
    if any(each.group is not None for each in records):
        return records, []
    patients = {facts[each.path].patient for each in records} - {None}
    if len(patients) == 1:
        return records, [
            "all DICOM files have the same PatientID, so it is not used as a group; give a group "
            "pattern if needed"
        ]
    if patients:
        return [replace(each, group=facts[each.path].patient) for each in records], []
    return records, _asked_pattern(listing, records)


def _asked_pattern(listing: Listing, records: Sequence[Record]) -> list[str]:
    """A question where the names of files, or their folders, look like patients or slides."""
    names, classes = [each.path.name for each in records], len(listing.classes)
    folders = [each.path.parent for each in records]
    if listing.layout == "folder" and repeats([each.name for each in folders]):
        pattern: str | None = "([^/]+)/[^/]+$"
    else:
        pattern = prefix_pattern(names, classes=classes)
    if pattern is None:
        return []
    first = _match(listing.root, records[0].path, pattern)
    return [
        f"file names look as if {first!r} in {_below(listing.root, records[0].path)!r} named a "
        "patient or slide, of which there are several images; then keep them in one split with "
        f"--group-pattern '{pattern}', since figures are flattered otherwise"
    ]


def _match(root: Path, path: Path, pattern: str) -> str:
    try:
        return group_named(_below(root, path), pattern)
    except ValueError as error:
        raise BadDataset(path, str(error)) from error


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
    source: Path, classes: Sequence[str], splits: dict[SplitName, Split], *, kind: LabelKind
) -> list[str]:
    """Notes on small classes or findings. Raises BadDataset if a split is empty, or train has no
    image of a class, or none with or none without a finding.
    """
    counts = {name: label_counts(split.labels, len(classes)) for name, split in splits.items()}
    for name, split in splits.items():
        absent = [
            answer
            for answers, _, known in kind.questions(classes, split.labels)
            for answer, images in zip(answers, label_counts(known, len(answers)), strict=True)
            if not images
        ]
        if absent and (name == "train" or not counts[name].any()):
            raise BadDataset(
                source,
                f"{name} has no image of {', '.join(absent)}; add images or groups, or provide "
                f"your own split{kind.advice}",
            )
    small = [
        f"{each!r} ({', '.join(f'{counts[name][label]} in {name}' for name in splits)})"
        for label, each in enumerate(classes)
        if counts["train"][label] < MIN_TRAIN
        or min(counts["val"][label], counts["test"][label]) < kind.fewest
    ]
    note = kind.too_few.format(small=", ".join(small), fewest=kind.fewest)
    return [note] if small else []
