"""`candor predict --out`: a folder scored in parts, in this process or on a Ray cluster."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.wording import counted, parameter
from candor.commands.options import WrongUse
from candor.terminal.verb_result import PlainResult
from model_store.addresses import shown_address

if TYPE_CHECKING:
    from hosting.settings import Settings
    from model_store.bundle.bundle import Bundle
    from model_store.image import FrameChoice


def score_folder(
    images: Sequence[str],
    out: str,
    bundle: "Bundle",
    known: "Settings",
    *,
    engine: str,
    frame: "FrameChoice | None",
    tags: str | None,
) -> PlainResult:
    """Score a folder or address into another; an image that is refused is exit code 1."""
    from candor.terminal.progress import bars
    from serving.scoring.folder import AnyFolder
    from serving.scoring.job import ScoringJob, in_this_process, score

    if frame == "all":
        raise WrongUse(
            f"{parameter('out')} has one row for each image: give {parameter('frame', 'N')} or "
            "middle, not all"
        )
    if len(images) == 1 and "://" not in images[0] and not Path(images[0]).exists():
        raise WrongUse(f"there is no folder {shown_address(images[0])}")
    if len(images) != 1 or not ("://" in images[0] or Path(images[0]).is_dir()):
        raise WrongUse(
            f"{parameter('out')} takes one folder of images, or its address such as "
            "s3://bucket/images"
        )
    if engine == "ray":
        from serving.cluster.scoring import on_cluster as run
    else:
        run = in_this_process
    job = ScoringJob(AnyFolder(images[0]), AnyFolder(out), bundle, known, frame, tags)
    with bars() as progress:
        result = score(job, engine=run, progress=progress)
    before = f", {result.parts_before:,} of them from before" if result.parts_before else ""
    return PlainResult(
        dataclasses.asdict(result),
        f"{result.out}: {counted(result.images, 'image')} in "
        f"{counted(result.parts, 'file')}{before}; {result.refused:,} refused",
        failed=result.refused > 0,
    )
