"""`candor data check`: inspect a data set before spending hours on training."""

from functools import partial
from typing import Unpack

from candor.commands.options import cache_folder
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult
from training.load_options import LoadOptions


def check(path: str, *, seed: int = 0, **reading: Unpack[LoadOptions]) -> PlainResult:
    """Show layout, classes, splits, corrupt files, patients and leakage.

    Exit code 1 if training would be refused.

    Example: candor data check images

    Args:
        path: Folder, CSV file or MedMNIST .npz.
        seed: Seed for the splits that the data lacks, as in `candor train`.
    """
    from calibration.grouping import NO_GROUP
    from candor.terminal.dataset import data_tables
    from candor.terminal.progress import bars
    from training.datasets import describe, load_dataset
    from training.datasets.errors import CorruptDataset, LeakingSplits, UnclearGroups

    with bars() as progress:
        load = partial(load_dataset, path, cache=cache_folder(), seed=seed, progress=progress)
        refusals: list[str] = []
        dataset = None
        while dataset is None:  # show the rest of the report as well
            try:
                dataset = load(**reading)
            except CorruptDataset as error:
                refusals.append(str(error))
                reading["max_corrupt"] = 1.0
            except UnclearGroups as error:
                refusals.append(str(error))
                reading["group"] = NO_GROUP
            except LeakingSplits as error:
                refusals.append(str(error))
                reading["allow_leakage"] = True
    refusal = "; ".join(refusals) or None
    found = describe(dataset) | {"refused": refusal}
    if refusal is not None:
        note(f"candor: refused: {refusal}")
    return PlainResult(found, *data_tables(found), failed=refusal is not None)
