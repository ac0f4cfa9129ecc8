"""`candor predict --out`: a folder scored in parts, in this process or on a Ray cluster."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from calibration.wording import counted
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:
    from model_store.bundle.bundle import Bundle
    from model_store.image import FrameChoice
    from serving.settings import Settings

ENGINES = ("process", "ray")


def score_folder(
    images: list[str],
    out: str,
    bundle: "Bundle",
    known: "Settings",
    *,
    engine: str,
    part_size: int | None,
    frame: "FrameChoice | None",
    tags: str | None,
    json_out: bool,
) -> int:
    """Score a folder or address into another; return how many images were refused."""
    from candor.terminal.progress import bars
    from serving.scoring.folder import AnyFolder
    from serving.scoring.job import in_this_process, score
    from serving.scoring.plan import ScoringPlan

    if frame == "all":
        raise typer.BadParameter(
            "--out has one row for each image: give --frame N or middle, not all"
        )
    if len(images) == 1 and "://" not in images[0] and not Path(images[0]).exists():
        raise typer.BadParameter(f"there is no folder {images[0]}")
    if len(images) != 1 or not ("://" in images[0] or Path(images[0]).is_dir()):
        raise typer.BadParameter(
            "--out takes one folder of images, or its address such as s3://bucket/images"
        )
    if engine == "ray":
        from serving.cluster.scoring import on_cluster as run
    else:
        run = in_this_process
    source, place = AnyFolder(images[0]), AnyFolder(out)
    begun = ScoringPlan.read(place)
    if begun is not None and part_size not in (None, begun.part_size):
        note(
            f"{place.address} was begun with {counted(begun.part_size, 'image')} in a part, and "
            "continues so; --part-size is not used."
        )
    with bars() as progress:
        result = score(
            source,
            place,
            bundle,
            known,
            engine=run,
            progress=progress,
            part_size=part_size,
            frame=frame,
            tags=tags,
        )
    if json_out:
        print_json(dataclasses.asdict(result))
        return result.refused
    before = f", {result.parts_before:,} of them from before" if result.parts_before else ""
    stdout.print(
        f"{result.out}: {counted(result.images, 'image')} in "
        f"{counted(result.parts, 'part')}{before}; {result.refused:,} refused"
    )
    return result.refused
