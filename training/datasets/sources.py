"""Find a data set: an explicit source, else a data folder, a download, or the bundled digits."""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Unpack

from calibration.findings.labels import UncertainAs
from calibration.grouping import NO_GROUP
from model_store.image.gray import Window
from training.datasets.assembly import assemble, check_leakage
from training.datasets.dataset import Dataset
from training.datasets.digits import read_digits
from training.datasets.errors import BadDataset, DataNotFound
from training.datasets.layouts import LAYOUTS, Layout
from training.datasets.medmnist_files import download_medmnist, is_published, read_medmnist
from training.datasets.medmnist_sets import MD5, published_set
from training.datasets.records import LoadArguments, LoadedFrom
from training.errors import UnknownName
from training.progress import Progress, silent

Origin = Literal["source", "data folder", "download", "digits"]
DIGITS, MEDMNIST = "digits", "medmnist"
DEFAULT_NAME = "pneumoniamnist"


@dataclass(frozen=True)
class FoundDataset:
    """A data set and its origin; `note` is a sentence for the user."""

    dataset: Dataset
    origin: Origin
    note: str


def load_dataset(
    source: str | Path,
    *,
    layout: str | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    allow_leakage: bool = False,
    max_corrupt: float = 0.01,
    window: Window | None = None,
    first_frame: bool = False,
    findings: str | None = None,
    exclusive: bool = False,
    uncertain: UncertainAs = "missing",
    cache: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Dataset:
    """Load the data set that `source` names; its files are checked and its splits free of leakage.

    Args:
        source: a folder, a CSV file or a MedMNIST .npz; the word `digits`; or the name of a
            published MedMNIST set (`pneumoniamnist`, `pathmnist_64`), which is downloaded into
            `cache`.
        layout: `medmnist` or one of LAYOUTS; None detects it.
        group: column of a table that tells the patient or slide, whose images stay in one split;
            "none" if each image stands alone. None: the column that is called so, or the PatientID
            of DICOM files; where other columns or paths look as if they told it, UnclearGroups.
        group_pattern: regular expression on the path below the data set's folder; its first group
            names the patient or slide.
        allow_leakage: continue although splits share images or groups; the notes of the data set
            then say so.
        max_corrupt: share of image files, 0..1, that may be missing or damaged. Those are left out
            and listed.
        window: center and width of the window for gray DICOM; None: the layout's, else each file's
            own.
        first_frame: use the first frame of a DICOM file that has several, instead of counting the
            file as corrupt.
        findings: "*" or names joined by "|": an image may have several of them, or none. They
            are the columns to read, or the findings that were looked for where labels are lists.
        exclusive: labels are exclusive classes even if they look like findings.
        uncertain: what a label of -1 is taken for.
        cache: folder that keeps downloads and the results of checking files.
        seed: seed for drawing the splits that the data lacks.
        progress: called in the stages "download" and "check images".

    Raises DataNotFound, BadDataset, CorruptDataset, UnclearGroups, LeakingSplits.
    """
    options = LoadedFrom(
        str(source),
        layout,
        group_pattern,
        allow_leakage,
        max_corrupt,
        window,
        first_frame,
        seed,
        findings,
        exclusive,
        uncertain,
        group,
    )
    return replace(_load(options, cache=cache, progress=progress), loaded=options)


def _load(options: LoadedFrom, *, cache: Path | None, progress: Progress) -> Dataset:
    path, layout = Path(options.source), options.layout
    if not path.exists():
        return _published(options, cache=cache, progress=progress)
    held = path if path.is_file() else path / f"{DEFAULT_NAME}.npz"
    if layout == MEDMNIST or (layout is None and held.suffix == ".npz" and held.is_file()):
        return _archive(held, options)
    chosen, root = _recognize(path, layout)
    checks = cache / "checks" if cache is not None else None
    return assemble(chosen.read(root, options), options, cache=checks, progress=progress)


def _published(options: LoadedFrom, *, cache: Path | None, progress: Progress) -> Dataset:
    name = options.source
    if name == DIGITS:
        return read_digits()
    if published_set(name) is not None and cache is not None:
        return _archive(download_medmnist(name, cache, progress=progress), options)
    near = get_close_matches(name.lower(), (DIGITS, *MD5), n=1)
    meant = f"; did you mean `{near[0]}`?" if near else ""
    raise DataNotFound(
        f"no data at {name}: expected a folder, a .csv, an .npz, `{DIGITS}`, or the name of a "
        f"MedMNIST set such as `{DEFAULT_NAME}`{meant}"
    )


def _archive(path: Path, options: LoadedFrom) -> Dataset:
    """Read a MedMNIST file. It has no names and columns, so to group by them raises BadDataset."""
    if options.group_pattern is not None or options.group not in (None, NO_GROUP):
        raise BadDataset(
            path, "has no file names or columns that tell groups; leave the option out"
        )
    dataset = read_medmnist(path, options)
    return check_leakage(
        dataset, path, published=is_published(dataset), allow=options.allow_leakage
    )


def _recognize(path: Path, layout: str | None) -> tuple[Layout, Path]:
    """The layout of a tree, and its root. Raises UnknownName, or BadDataset if no layout fits."""
    if layout is not None and layout not in LAYOUTS:
        raise UnknownName("layout", layout, (MEDMNIST, *LAYOUTS))
    for candidate in LAYOUTS.values() if layout is None else (LAYOUTS[layout],):
        root = candidate.find(path)
        if root is not None:
            return candidate, root
    expected = LAYOUTS[layout].tree if layout is not None else "a folder, a .csv or an .npz"
    raise BadDataset(path, f"is not in the layout {layout or 'of any kind'}; expected {expected}")


def source_title(source: str | Path | None) -> str:
    """A short name for a source, fit for a folder's name, without looking into it.

    >>> source_title("scans/labels.csv"), source_title("x/chest [2].npz"), source_title(None)
    ('scans', 'chest-2', 'pneumoniamnist')
    """
    if source is None:
        return DEFAULT_NAME
    path = Path(source).absolute()
    if path.stem == "labels":
        path = path.parent
    named = path.stem if path.suffix in (".csv", ".npz") else path.name
    return re.sub(r"[^\w.-]+", "-", named).strip("-.") or "data"


def find_dataset(
    source: str | Path | None,
    *,
    data_folder: Path | None,
    cache: Path,
    seed: int = 0,
    progress: Progress = silent,
    **options: Unpack[LoadArguments],
) -> FoundDataset:
    """Load `source` if given, else PneumoniaMNIST from `data_folder` or the network, else digits.

    `options` are further arguments of `load_dataset` for an explicit source. An explicit source or
    a data folder that does not exist is an error. Only a failed download falls back to digits, and
    `note` says so.
    """
    if source is not None:
        dataset = load_dataset(source, cache=cache, seed=seed, progress=progress, **options)
        origin: Origin = "digits" if str(source) == DIGITS else "source"
        return FoundDataset(dataset, origin, f"data from {source}")
    if data_folder is not None and not data_folder.is_dir():
        raise DataNotFound(
            f"the data folder {data_folder} does not exist; correct it or leave it unset"
        )
    held = data_folder / f"{DEFAULT_NAME}.npz" if data_folder else None
    if held is not None and held.is_file():
        return FoundDataset(load_dataset(held), "data folder", f"data from {held}")
    try:
        path = download_medmnist(DEFAULT_NAME, cache, progress=progress)
    except DataNotFound as error:
        return FoundDataset(
            read_digits(), "digits", f"{error}. Using scikit-learn's digits, corrupted in test"
        )
    return FoundDataset(load_dataset(path), "download", f"data downloaded to {path}")
