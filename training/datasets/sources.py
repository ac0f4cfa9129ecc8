"""Find a data set: a given source, else what the data folder has, else the bundled digits."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from calibration.grouping import NO_GROUP
from training.datasets.assembly import assemble
from training.datasets.csv_table import read_csv
from training.datasets.dataset import Dataset
from training.datasets.digits import read_digits
from training.datasets.errors import BadDataset, DataNotFound
from training.datasets.folder import read_folder
from training.datasets.medmnist import read_medmnist
from training.datasets.table import ImageTable
from training.errors import UnknownName
from training.load_options import LoadOptions, completed
from training.progress import Progress, silent

DIGITS, DEFAULT_NAME = "digits", "pneumoniamnist"
# Detection tries them in this order
LAYOUTS = {
    "medmnist": "an .npz of MedMNIST",
    "csv": "a CSV file, or a folder's labels.csv: path,label[,group][,split], or path and findings",
    "folder": "[train|val|test/]CLASS/**/IMAGE",
}


def load_dataset(
    source: str | Path,
    *,
    cache: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **options: Unpack[LoadOptions],
) -> Dataset:
    """Load the data set that `source` names; its files are checked and its splits free of leakage.

    Args:
        source: a folder, a CSV file or a MedMNIST .npz, or the word `digits`.
        cache: folder that keeps the results of checking files.
        seed: seed for drawing the splits that the data lacks.
        progress: called in the stage "check images".
        options: how to read it, as `candor data check` has them: `layout`, `group`,
            `group_pattern`, `allow_leakage`, `max_corrupt`, `window`, `first_frame`, `findings`,
            `exclusive`, `uncertain`.

    Raises DataNotFound, BadDataset, CorruptDataset, UnclearGroups, LeakingSplits.
    """
    chosen, path = completed(options), Path(source)
    loaded = {"source": str(source), **chosen, "seed": seed}
    if str(source) == DIGITS and not path.exists():
        return replace(read_digits(), loaded=loaded)
    dataset = assemble(
        _read(path, chosen),
        chosen,
        seed=seed,
        cache=None if cache is None else cache / "checks",
        progress=progress,
    )
    return replace(dataset, loaded=loaded)


def _read(path: Path, options: LoadOptions) -> ImageTable:
    """The table of a source. Raises DataNotFound, UnknownName, or BadDataset if no layout fits."""
    layout = options["layout"]
    if not path.exists():
        raise DataNotFound(
            f"no data at {path}: expected a folder, a .csv, an .npz or `{DIGITS}`; the package "
            f"medmnist downloads files such as {DEFAULT_NAME}.npz"
        )
    if layout not in (None, *LAYOUTS):
        raise UnknownName("layout", str(layout), tuple(LAYOUTS))
    held = path if path.is_file() else path / f"{DEFAULT_NAME}.npz"
    if layout == "medmnist" or (layout is None and held.suffix == ".npz" and held.is_file()):
        if options["group_pattern"] is not None or options["group"] not in (None, NO_GROUP):
            raise BadDataset(
                held, "has no file names or columns that tell groups; leave the option out"
            )
        return read_medmnist(held, options)
    table = path / "labels.csv" if path.is_dir() else path
    if layout != "folder" and table.suffix.lower() == ".csv" and table.is_file():
        return read_csv(table, options)
    if layout != "csv" and path.is_dir():
        return read_folder(path, options)
    expected = LAYOUTS[layout] if layout is not None else "a folder, a .csv or an .npz"
    raise BadDataset(path, f"is not in the layout {layout or 'of any kind'}; expected {expected}")


def source_title(source: str | Path) -> str:
    """A short name for a source, fit for a folder's name, without looking into it.

    >>> source_title("scans/labels.csv"), source_title("x/chest [2].npz")
    ('scans', 'chest-2')
    """
    path = Path(source).absolute()
    if path.stem == "labels":
        path = path.parent
    named = path.stem if path.suffix in (".csv", ".npz") else path.name
    return re.sub(r"[^\w.-]+", "-", named).strip("-.") or "data"


def chosen_source(given: str | Path | None, data_folder: Path | None) -> tuple[str | Path, str]:
    """The source `given`, else PneumoniaMNIST in `data_folder`, else the digits; and a note on it.

    Raises DataNotFound if the data folder does not exist.
    """
    if given is not None:
        return given, f"data from {given}"
    if data_folder is None:
        return DIGITS, "CANDOR_DATA is not set: scikit-learn's digits, corrupted in test"
    held = data_folder / f"{DEFAULT_NAME}.npz"
    if not data_folder.is_dir():
        raise DataNotFound(
            f"the data folder {data_folder} does not exist; correct it or leave it unset"
        )
    if held.is_file():
        return held, f"data from {held}"
    return DIGITS, f"there is no {held}: scikit-learn's digits, corrupted in test"
