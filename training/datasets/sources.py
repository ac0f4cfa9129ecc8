"""Where a data set comes from: an explicit source, a data folder, a download, or the bundled digits, in this order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.datasets.dataset import Dataset
from training.datasets.digits import read_digits
from training.datasets.download import MD5, download_medmnist
from training.datasets.folder import read_folder
from training.datasets.medmnist import read_medmnist
from training.errors import DataNotFound
from training.progress import Progress, silent

Origin = Literal["source", "data folder", "download", "digits"]
DIGITS = "digits"
DEFAULT_NAME = "pneumoniamnist"


@dataclass(frozen=True)
class FoundDataset:
    """A data set and how it was come by; `note` is a sentence for the user."""

    dataset: Dataset
    origin: Origin
    note: str


def load_dataset(
    source: str | Path, *, cache: Path | None = None, seed: int = 0, progress: Progress = silent
) -> Dataset:
    """The data set that `source` names.

    `source` is the path of a MedMNIST .npz or of an image folder, or a folder that holds `pneumoniamnist.npz`; or the
    word `digits`; or the name of a published MedMNIST set, which is downloaded into `cache`. `seed` draws the splits
    that a plain folder lacks. Raises DataNotFound or BadDataset.
    """
    path = Path(source)
    if path.is_file():
        return read_medmnist(path)
    if path.is_dir():
        held = path / f"{DEFAULT_NAME}.npz"
        return read_medmnist(held) if held.is_file() else read_folder(path, seed=seed)
    if str(source) == DIGITS:
        return read_digits()
    if str(source) in MD5 and cache is not None:
        return read_medmnist(download_medmnist(str(source), cache, progress=progress))
    raise DataNotFound(
        f"no data at {source}: not a file, not a folder, not `{DIGITS}`, not a published MedMNIST name "
        f"({', '.join(sorted(MD5))})"
    )


def find_dataset(
    source: str | Path | None,
    *,
    data_folder: Path | None,
    cache: Path,
    download: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> FoundDataset:
    """The demo's data: `source` if given, else PneumoniaMNIST from `data_folder` or the network, else digits.

    An explicit source or a data folder that does not exist is an error, never silently replaced. Only a failed
    download falls back to digits, and `note` says so.
    """
    if source is not None:
        dataset = load_dataset(source, cache=cache, seed=seed, progress=progress)
        origin: Origin = "digits" if str(source) == DIGITS else "source"
        return FoundDataset(dataset, origin, f"data from {source}")
    if data_folder is not None and not data_folder.is_dir():
        raise DataNotFound(f"the data folder {data_folder} does not exist; correct it or leave it unset")
    held = data_folder / f"{DEFAULT_NAME}.npz" if data_folder else None
    if held is not None and held.is_file():
        return FoundDataset(read_medmnist(held), "data folder", f"data from {held}")
    if not download:
        return FoundDataset(read_digits(), "digits", "no data given: using scikit-learn's digits, corrupted in test")
    try:
        path = download_medmnist(DEFAULT_NAME, cache, progress=progress)
    except DataNotFound as error:
        return FoundDataset(read_digits(), "digits", f"{error}. Using scikit-learn's digits, corrupted in test")
    return FoundDataset(read_medmnist(path), "download", f"data downloaded to {path}")
