"""`candor data check`: inspect a data set before spending hours on training."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from candor.commands.options import JsonOption, argument, cache_folder, option
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets.records import LoadArguments

app = typer.Typer(
    name="data", help="Inspect the images that a model will be trained on.", no_args_is_help=True
)


def read_window(text: str) -> tuple[float, float]:
    """Return the center and the width of a window; a usage error for anything else."""
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"got the window {text!r}; expected CENTER,WIDTH, such as 40,80"
        ) from error
    if width < 1:
        raise typer.BadParameter(f"got a window width of {width:g}; expected 1 or more")
    return center, width


LayoutOption = Annotated[str | None, option("How the images are stored (default: detected).")]
GroupOption = Annotated[
    str | None,
    option("Regular expression on the file name; its first group identifies the patient or slide."),
]
LeakageOption = Annotated[
    bool, option("Continue although splits share images or patients.", "--allow-leakage")
]
CorruptOption = Annotated[
    float, option("Share of images that may be missing or damaged.", min=0, max=1)
]
WindowOption = Annotated[
    Any,
    option(
        "Window for gray DICOM (default: the layout's, else the file's).",
        metavar="CENTER,WIDTH",
        parser=read_window,
    ),
]
FirstFrameOption = Annotated[
    bool, option("Use the first frame of DICOM files that have several.", "--first-frame")
]
FindingsOption = Annotated[
    str | None,
    option(
        "Several findings an image: the columns to read or, where labels are lists such as A|B, "
        "the findings that were looked for. Names joined by |, or '*' for all."
    ),
]
ExclusiveOption = Annotated[
    bool, option("Labels are exclusive classes though they look like findings.", "--exclusive")
]
UncertainOption = Annotated[
    Literal["missing", "present", "absent"],
    option("What a finding's label of -1 (uncertain) is taken for."),
]


def load_arguments(context: typer.Context) -> "LoadArguments":
    """Return the options above as arguments of `load_dataset`."""
    from training.datasets.records import LoadArguments

    named = {name: context.params[name] for name in LoadArguments.__annotations__}
    return cast("LoadArguments", named)


@app.command()
def check(
    context: typer.Context,
    path: Annotated[str, argument("Folder, CSV file, MedMNIST .npz or name.")],
    layout: LayoutOption = None,
    group_pattern: GroupOption = None,
    allow_leakage: LeakageOption = False,
    max_corrupt: CorruptOption = 0.01,
    window: WindowOption = None,
    first_frame: FirstFrameOption = False,
    findings: FindingsOption = None,
    exclusive: ExclusiveOption = False,
    uncertain: UncertainOption = "missing",
    seed: Annotated[
        int, option("Seed for the splits that the data lacks, as in `candor train`.")
    ] = 0,
    json_out: JsonOption = False,
) -> None:
    """Show layout, classes, splits, corrupt files, leakage, and what gives a class away.

    Exit code 1 if training would be refused.

    Example: candor data check images
    """
    from candor.terminal.dataset import data_tables
    from candor.terminal.progress import bars
    from training.datasets import describe, load_dataset
    from training.datasets.errors import CorruptDataset, LeakingSplits

    options = load_arguments(context)
    with bars() as progress:
        load = partial(load_dataset, path, cache=cache_folder(), seed=seed, progress=progress)
        refusal = None
        try:
            dataset = load(**options)
        except (CorruptDataset, LeakingSplits) as error:  # show the rest of the report as well
            refusal = str(error)
            options["max_corrupt"], options["allow_leakage"] = 1.0, True
            dataset = load(**options)
    found = describe(dataset) | {"refused": refusal}
    if json_out:
        print_json(found)
    else:
        for part in data_tables(found):
            stdout.print(part)
    if refusal is not None:
        note(f"candor: refused: {refusal}")
        raise typer.Exit(1)
