"""`candor data check`: inspect a data set before spending hours on training."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from candor.commands.options import Within, WrongUse, cache_folder
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets.records import LoadArguments

Uncertain: TypeAlias = Literal["missing", "present", "absent"]


def read_window(given: str | Sequence[float] | None) -> tuple[float, float] | None:
    """Return the center and the width of a window. Raises WrongUse for anything else."""
    if given is None:
        return None
    try:
        parts = given.split(",") if isinstance(given, str) else given
        center, width = (float(part) for part in parts)
    except ValueError as error:
        raise WrongUse(f"got the window {given!r}; expected CENTER,WIDTH, such as 40,80") from error
    if width < 1:
        raise WrongUse(f"got a window width of {width:g}; expected 1 or more")
    return center, width


def check(
    path: str,
    *,
    layout: str | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    allow_leakage: bool = False,
    max_corrupt: Annotated[float, Within(0, 1)] = 0.01,
    window: Annotated[str | None, "CENTER,WIDTH"] = None,
    first_frame: bool = False,
    findings: str | None = None,
    exclusive: bool = False,
    uncertain: Uncertain = "missing",
    seed: int = 0,
) -> PlainResult:
    """Show layout, classes, splits, corrupt files, patients, leakage, and what gives a class away.

    Exit code 1 if training would be refused.

    Example: candor data check images

    Args:
        path: Folder, CSV file, MedMNIST .npz or name.
        layout: How the images are stored (default: detected).
        group: Column of the patient or slide (default: one that is called so); none if each image
            stands alone.
        group_pattern: Regular expression on the path; its first group is the patient or slide.
        allow_leakage: Continue although splits share images or patients.
        max_corrupt: Share of images that may be missing or damaged.
        window: Window for gray DICOM (default: the layout's, else the file's).
        first_frame: Use the first frame of DICOM files that have several.
        findings: Several findings an image: the columns to read or, where labels are lists such as
            A|B, the findings that were looked for. Names joined by |, or '*' for all.
        exclusive: Labels are exclusive classes though they look like findings.
        uncertain: What a finding's label of -1 (uncertain) is taken for.
        seed: Seed for the splits that the data lacks, as in `candor train`.
    """
    from calibration.grouping import NO_GROUP
    from candor.terminal.dataset import data_tables
    from candor.terminal.progress import bars
    from training.datasets import describe, load_dataset
    from training.datasets.errors import CorruptDataset, LeakingSplits, UnclearGroups

    options: LoadArguments = {
        "layout": layout,
        "group": group,
        "group_pattern": group_pattern,
        "allow_leakage": allow_leakage,
        "max_corrupt": max_corrupt,
        "window": read_window(window),
        "first_frame": first_frame,
        "findings": findings,
        "exclusive": exclusive,
        "uncertain": uncertain,
    }
    with bars() as progress:
        load = partial(load_dataset, path, cache=cache_folder(), seed=seed, progress=progress)
        refusals: list[str] = []
        dataset = None
        while dataset is None:  # show the rest of the report as well
            try:
                dataset = load(**options)
            except CorruptDataset as error:
                refusals.append(str(error))
                options["max_corrupt"] = 1.0
            except UnclearGroups as error:
                refusals.append(str(error))
                options["group"] = NO_GROUP
            except LeakingSplits as error:
                refusals.append(str(error))
                options["allow_leakage"] = True
    refusal = "; ".join(refusals) or None
    found = describe(dataset) | {"refused": refusal}
    if refusal is not None:
        note(f"candor: refused: {refusal}")
    return PlainResult(found, *data_tables(found), failed=refusal is not None)
