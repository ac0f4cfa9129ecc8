"""Options that several commands of `candor experiment` share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.experiments.choice import EvaluationSet

OutOption = Annotated[
    Path | None, typer.Option(help="Folder for cells and tables (default: experiments/NAME).")
]
JobsOption = Annotated[int, typer.Option(min=1, help="Parallel processes, one thread each.")]
DataOption = Annotated[
    list[str] | None,
    typer.Option(help="Data set, 'PATH [key=value ...]', instead of the preset's; repeatable."),
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option(help="Network, 'NAME [key=value ...]', instead of the preset's; repeatable."),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Method, 'LOSS [xHEADS] [ema] [key=value ...]', instead of the preset's; repeatable."
    ),
]
SeedsOption = Annotated[int | None, typer.Option(min=1, help="Number of seeds.")]
FirstSeedOption = Annotated[int, typer.Option(min=0, help="The first seed; the others follow it.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")]
JudgeOption = Annotated[
    str,
    typer.Option(
        help="Evaluation set: val, or perturbed for validation images under a simulated shift."
    ),
]
RecipeOption = Annotated[
    str,
    typer.Option(
        help="auto: each method with every candidate that `candor train` would try on this data; "
        "fixed: with the "
        "options given here alone."
    ),
]
AccuracyLossOption = Annotated[
    float, typer.Option(help="Accuracy that a choice may lose on validation.")
]
NllShareOption = Annotated[
    float, typer.Option(help="Share by which the NLL of a choice may be higher.")
]
CORES = os.cpu_count() or 1


def evaluation_set_of(judge: str) -> "EvaluationSet":
    """What --judge names; a usage error for anything else."""
    if judge == "perturbed":
        return "perturbed"
    if judge == "val":
        return "val"
    raise typer.BadParameter(f"got {judge!r}; choose val or perturbed", param_hint="--judge")


def is_automatic(recipe: str) -> bool:
    """What --recipe says; a usage error for anything but auto and fixed."""
    if recipe not in ("auto", "fixed"):
        raise typer.BadParameter(f"got {recipe!r}; expected auto or fixed", param_hint="--recipe")
    return recipe == "auto"


def folder_of(out: Path | None, name: str) -> Path:
    """The folder of an experiment: the one that was given, or that of its name."""
    return out or Path("experiments") / name
