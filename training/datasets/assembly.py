"""From a table to a data set: check the files, group them, draw missing splits, refuse leakage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from calibration.grouping import GroupsUnclear, groups_of_images
from calibration.sampling import joined
from calibration.wording import parameter
from training.datasets.dataset import (
    ArrayImages,
    Dataset,
    FileImages,
    Split,
    fingerprint,
    label_counts,
)
from training.datasets.errors import BadDataset, CorruptDataset, LeakingSplits, UnclearGroups
from training.datasets.file_facts import Facts, check_files
from training.datasets.label_kind import LabelKind
from training.datasets.report import overlaps
from training.datasets.table import SPLIT_NAMES, Excluded, ImageTable, SplitName
from training.load_options import LoadOptions, window_of
from training.progress import Progress, silent

VAL_SHARE = 0.2  # of what is not test: the paper's 4:1
TEST_SHARE = 0.2
DIVIDED = 4  # images of a class from which each of three drawn splits gets one
MIN_TRAIN = 10  # images of a class in train, below which a note says so
Groups = Sequence[str | None]


def assemble(
    table: ImageTable,
    options: LoadOptions,
    *,
    seed: int,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The data set of a table. The folder `cache` keeps the results of checking files.

    Raises CorruptDataset, UnclearGroups, LeakingSplits, or BadDataset if splits cannot be used or
    drawn.
    """
    if table.pixels:  # of no DICOM file
        options = options | LoadOptions(window=None, first_frame=False)
    table, facts, excluded = _checked(table, options, cache=cache, progress=progress)
    groups, notes = _grouped(table, facts, options)
    names = _drawn(table, groups, facts, seed=seed)
    splits = _parted(table, groups, facts, names)
    notes += _small_classes(
        table.root, table.classes, splits, kind=table.kind, drawn="val" not in table.splits
    )
    leaks = overlaps(splits)
    if leaks and not table.published and not options["allow_leakage"]:
        raise LeakingSplits(table.root, leaks)
    why = (
        "the published splits share images, which flatters figures on them"
        if table.published
        else "allowed leakage"
    )
    return Dataset(
        name=table.name,
        classes=table.classes,
        channels=3 if any(file.channels == 3 for file in facts) else 1,
        size=int(np.median([max(file.width, file.height) for file in facts])),
        splits=splits,
        fingerprint=fingerprint(table.classes, splits),
        layout=table.layout,
        window=window_of(options["window"]),
        frames="first" if options["first_frame"] else "one",
        excluded=excluded,
        notes=(*table.notes, *notes, *(f"{why}: {each}" for each in leaks)),
    )


def _checked(
    table: ImageTable, options: LoadOptions, *, cache: Path | None, progress: Progress
) -> tuple[ImageTable, list[Facts], tuple[Excluded, ...]]:
    """Readable images, facts about each, and corrupt files. Raises CorruptDataset."""
    if table.pixels:
        height, width, *color = table.pixels["train"].shape[1:]
        facts = Facts(width=width, height=height, channels=3 if color else 1)
        return table, [facts] * len(table.labels), ()
    if not table.paths:
        raise BadDataset(table.root, f"holds no labeled images in the layout {table.layout!r}")
    found = check_files(
        table.paths,
        table.root,
        frames="first" if options["first_frame"] else "one",
        cache=cache,
        progress=progress,
    )
    corrupt = tuple(
        Excluded(path, facts.reason)
        for path, facts in zip(table.paths, found, strict=True)
        if facts.reason is not None
    )
    if len(corrupt) > options["max_corrupt"] * len(found):
        raise CorruptDataset(table.root, corrupt, total=len(found), limit=options["max_corrupt"])
    usable = [row for row, facts in enumerate(found) if facts.reason is None]
    return table.take(usable), [found[row] for row in usable], corrupt


def _grouped(
    table: ImageTable, facts: Sequence[Facts], options: LoadOptions
) -> tuple[Groups, list[str]]:
    """The patient or slide of each image, as the user says, else by a table's column or DICOM
    PatientID; and notes.

    Raises UnclearGroups if other columns, or paths, look as if they told patients apart.
    """
    if table.pixels:
        return [None] * len(facts), []
    pattern, column, notes = options["group_pattern"], options["group"], list[str]()
    patients = [file.patient for file in facts]
    if pattern is None and column is None and len(set(patients) - {None}) == 1:
        notes.append("all DICOM files have the same PatientID, so it is not used as a group")
    labels = table.labels.tolist() if table.labels.ndim == 1 else []
    try:
        groups, used = groups_of_images(
            _names(table), table.columns, patients, labels, group=column, pattern=pattern
        )
    except GroupsUnclear as error:
        raise UnclearGroups(table.root, str(error)) from error
    except ValueError as error:
        raise BadDataset(table.root, str(error)) from error
    if used not in (None, "group"):
        notes.append(
            f"the column {used!r} keeps images together, so that no patient is in two splits"
        )
    return groups, notes


def _names(table: ImageTable) -> list[str]:
    """Paths below the root; the whole path of a file that a table has elsewhere."""
    root = table.root
    return [
        (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
        for path in table.paths
    ]


def _drawn(
    table: ImageTable, groups: Groups, facts: Sequence[Facts], *, seed: int
) -> Sequence[SplitName | None]:
    """The split of each image: those given, val drawn from train if missing, or all drawn."""
    given = set(table.splits)
    if given == set(SPLIT_NAMES):
        return table.splits
    if given not in ({None}, {"train", "test"}):
        names = ", ".join(sorted(each or "(none)" for each in given))
        raise BadDataset(
            table.root,
            f"has the splits {names}; expected train and test, train, val and test, or none",
        )
    units = joined(groups, [file.digest for file in facts])
    splits = np.array([each or "train" for each in table.splits], dtype=object)
    for name, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        if name not in given:
            pool = np.flatnonzero(splits == "train")
            _, part = table.kind.parts(
                table.labels[pool], units[pool], (1 - share, share), seed=seed
            )
            splits[pool[part]] = name
    return splits.tolist()


def _parted(
    table: ImageTable,
    groups: Groups,
    facts: Sequence[Facts],
    splits: Sequence[SplitName | None],
) -> dict[SplitName, Split]:
    """The splits, with one numbering of groups; an image of unknown group is one of its own."""
    names = _names(table)
    units = [
        ("image", str(path)) if group is None else ("group", group)
        for path, group in zip(table.paths, groups, strict=False)
    ]
    place = {unit: number for number, unit in enumerate(sorted(set(units)))}
    numbers = np.array([place[unit] for unit in units], np.int64)
    is_grouped = any(group is not None for group in groups)
    parts: dict[SplitName, Split] = {}
    for name in SPLIT_NAMES:
        rows = [row for row, split in enumerate(splits) if split == name]
        if table.pixels:
            parts[name] = Split(ArrayImages(table.pixels[name]), table.labels[rows])
            continue
        digests = [bytes.fromhex(facts[row].digest) for row in rows]
        parts[name] = Split(
            FileImages([table.paths[row] for row in rows], digests),
            table.labels[rows],
            numbers[rows] if is_grouped else None,
            tuple(names[row] for row in rows),
        )
    return parts


def _small_classes(
    source: Path,
    classes: Sequence[str],
    splits: Mapping[SplitName, Split],
    *,
    kind: LabelKind,
    drawn: bool,
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
            others = f", or name others with {parameter(kind.chosen_by)}" if kind.chosen_by else ""
            raise BadDataset(
                source,
                f"{name} has no image of {', '.join(absent)}; add images or groups, or provide "
                f"your own split that has some, or merge or remove the class{others}",
            )
    small = [
        f"{each!r} ({', '.join(f'{counts[name][label]} in {name}' for name in splits)})"
        for label, each in enumerate(classes)
        if counts["train"][label] < MIN_TRAIN
        or min(counts["val"][label], counts["test"][label]) < kind.fewest
    ]
    note = kind.too_few.format(small=", ".join(small), fewest=kind.fewest)
    return [note] if small else []
