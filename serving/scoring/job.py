"""The whole job: makes or continues a plan, has the missing parts scored, and counts what is there
at the end.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from model_store.bundle.bundle import Bundle
from model_store.image import FrameChoice
from serving.scoring.errors import ScoringError
from serving.scoring.folder import AnyFolder
from serving.scoring.part import PartCount, PartScorer, file_name, read_count
from serving.scoring.plan import PART_SIZE, ScoringPlan
from serving.settings import Settings

MANIFEST_FILE: Final = "manifest.json"
Engine = Callable[["ScoringJob", Sequence[int]], Iterator[PartCount]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ScoringJob:
    """What a worker needs to score any part."""

    plan: ScoringPlan
    out: AnyFolder
    bundle: Bundle
    settings: Settings

    def scorer(self) -> PartScorer:
        """A scorer of this process."""
        return PartScorer(self.plan, self.out, self.bundle, self.settings)


@dataclass(frozen=True)
class ScoringResult:
    """How many images were answered and refused, in how many parts, and how many of those were
    there before.
    """

    out: str
    images: int
    refused: int
    parts: int
    parts_before: int


def score(
    source: AnyFolder,
    out: AnyFolder,
    bundle: Bundle,
    settings: Settings,
    *,
    engine: Engine,
    progress: Progress,
    part_size: int | None = None,
    frame: FrameChoice | None = None,
) -> ScoringResult:
    """Score all images of `source` into `out`, or continue to, then in the parts of before.

    `frame`: of files with several, the number of one from 1 or "middle", in place of what the card
    says. Raises ScoringError, and OSError if a place is away.
    """
    plan = ScoringPlan.read(out)
    if plan is None:
        plan = ScoringPlan.make(out, source, bundle, part_size=part_size or PART_SIZE, frame=frame)
    plan.check(source, bundle, frame)
    counts = _found(plan, out)
    missing = [part for part in range(plan.parts) if part not in counts]
    before, done = len(counts), sum(each.images for each in counts.values())
    progress("images", done, plan.images)
    for count in engine(ScoringJob(plan, out, bundle, settings), missing):
        done += count.images
        progress("images", done, plan.images)
    return _finish(plan, out, before)


def in_this_process(job: ScoringJob, parts: Sequence[int]) -> Iterator[PartCount]:
    """The engine that scores the parts here, one after another."""
    scorer = job.scorer()
    try:
        yield from map(scorer.score, parts)
    finally:
        scorer.close()


def _found(plan: ScoringPlan, out: AnyFolder) -> dict[int, PartCount]:
    names = out.names()
    there = (part for part in range(plan.parts) if file_name(part) in names)
    counts = {part: read_count(plan, out, part) for part in there}
    return {part: count for part, count in counts.items() if count is not None}


def _finish(plan: ScoringPlan, out: AnyFolder, before: int) -> ScoringResult:
    """Count what the files hold, write the manifest, and return the counts. Raises ScoringError if
    one is missing.
    """
    counts = _found(plan, out)
    images, refused = (
        sum(getattr(each, name) for each in counts.values()) for name in ("images", "refused")
    )
    if images != plan.images:
        raise ScoringError(
            f"{out.address} has {images:,} of {plan.images:,} images; repeat the command to "
            "continue"
        )
    listed = [
        {"file": file_name(part), "images": each.images, "refused": each.refused}
        for part, each in counts.items()
    ]
    summary = {
        "model": plan.model,
        "version": plan.version,
        "digest": plan.digest,
        "images": images,
    }
    summary |= {} if plan.frame is None else {"frame": plan.frame}
    manifest = summary | {
        "refused": refused,
        "source": plan.source,
        "listed": plan.listed,
        "parts": listed,
    }
    out.write(MANIFEST_FILE, json.dumps(manifest, indent=1).encode() + b"\n")
    return ScoringResult(out.address, images, refused, plan.parts, before)
