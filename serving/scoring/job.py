"""Scoring: a part is read, decoded within limits, inferred in batches and written as one Parquet
file; the job makes or continues a plan, has the missing parts scored, and counts what is there.

An image that cannot be read or decoded, or is refused as out of scope, has a row too, with the
reason in `error`.
"""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from model_store.bundle.bundle import Bundle
from model_store.errors import ImageError
from model_store.image import FrameChoice
from serving.decoding.decoder import Decoder
from serving.inference.prediction import ScopePolicy
from serving.inference.predictor import open_predictor
from serving.scoring.columns import cells, columns_of
from serving.scoring.folder import AnyFolder, ScoringError
from serving.scoring.plan import PART_SIZE, ImageList, ScoringPlan, parquet
from serving.settings import Settings

KEY: Final = b"candor.plan"
READERS: Final = 8  # files read at a time, for folders at an address, whose reads are slow
UNREADABLE: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
)  # of this image; others are of the folder


@dataclass(frozen=True)
class PartCount:
    """The number of a part, its images, and how many of them were refused."""

    part: int
    images: int
    refused: int


class PartScorer:
    """Scores parts of a plan. Use it from one thread; close it at the end."""

    def __init__(
        self, plan: ScoringPlan, out: AnyFolder, bundle: Bundle, settings: Settings
    ) -> None:
        """`bundle` must be verified. Raises ScoringError or ModelUnusable."""
        self._list = ImageList(out)
        self._plan, self._out, self._source = plan, out, AnyFolder(plan.source)
        self._predictor = open_predictor(
            bundle,
            threads=settings.threads,
            device=settings.device,
            on_difference=settings.on_difference,
            scope=ScopePolicy(settings.scope_alpha, settings.scope_out),
        )
        self._batch = settings.max_batch
        self._loop = asyncio.Runner()
        self._decoder = Decoder(settings, observe_s=lambda _: None)
        self._readers = ThreadPoolExecutor(READERS)

    def score(self, part: int) -> PartCount:
        """Write the file of a part, unless it is there. Raises OSError if the folder is away."""
        found = read_count(self._plan, self._out, part)
        if found is not None:
            return found
        rows: list[dict[str, Any]] = []
        names = iter(self._list.of_part(part))
        while batch := list(islice(names, self._batch)):
            rows += self._rows(batch)
        self._out.write(file_name(part), self._written(rows))
        return PartCount(part, len(rows), sum("error" in row for row in rows))

    def close(self) -> None:
        self._readers.shutdown()
        self._decoder.close()
        self._loop.close()

    def _rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        images = [self._decoded(content) for content in self._readers.map(self._content, names)]
        sound = [image[0] for image in images if not isinstance(image, str)]
        tags = self._plan.tags
        answers = iter(self._predictor.classify_batch(np.stack(sound), tags=tags) if sound else ())
        for name, image in zip(names, images, strict=True):
            row = (
                {"error": image}
                if isinstance(image, str)
                else image[1] | cells(self._predictor.scope.fields(next(answers)))
            )
            yield {"file": name} | row

    def _content(self, name: str) -> bytes | str:
        try:
            return self._source.read(name)
        except UNREADABLE as error:
            return error.strerror or type(error).__name__

    def _decoded(self, content: bytes | str) -> tuple[Any, dict[str, int]] | str:
        """The pixels, (C, H, W), with what its row says of the frame; or why there are none."""
        if isinstance(content, str):
            return content
        spec = self._predictor.card.input.spec
        try:
            if self._plan.frame is None:
                return self._loop.run(self._decoder.decode(content, spec)), {}
            found = self._decoder.decode_frames(content, spec, self._plan.frame, limit=1)
            frames = self._loop.run(found)
            return frames.pixels[0], {"frame": frames.first}
        except ImageError as error:
            return str(error)

    def _written(self, rows: list[dict[str, Any]]) -> bytes:
        import pyarrow as pa

        own = {"list": pa.list_(pa.string()), "bool": pa.bool_()}
        chosen = {} if self._plan.frame is None else {"frame": "int64"}
        kinds = {"file": "string"} | chosen | {"model": "string", "version": "int64"}
        kinds |= columns_of(self._predictor.card) | {"error": "string"}
        schema = pa.schema([(name, own.get(kind, kind)) for name, kind in kinds.items()])
        named = {"model": self._plan.model, "version": self._plan.version}
        counts = {KEY: self._plan.key, b"candor.refused": str(sum("error" in row for row in rows))}
        table = pa.Table.from_pylist(
            [named | row for row in rows], schema=schema.with_metadata(counts)
        )
        buffer = io.BytesIO()
        parquet().write_table(table, buffer)
        return buffer.getvalue()


def read_count(plan: ScoringPlan, out: AnyFolder, part: int) -> PartCount | None:
    """The counts of a part; None if it is not there. Raises ScoringError if another's."""
    try:
        content = out.read(file_name(part))
    except FileNotFoundError:
        return None
    try:
        metadata = parquet().ParquetFile(io.BytesIO(content)).metadata
        key, refused = metadata.metadata.get(KEY), int(metadata.metadata.get(b"candor.refused", -1))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ScoringError(
            f"{out.address}/{file_name(part)} is damaged ({error}); delete it, and repeat"
        ) from error
    if (key, metadata.num_rows) != (plan.key.encode(), plan.size_of(part)):
        raise ScoringError(
            f"{out.address}/{file_name(part)} is not of this plan; delete it, and repeat"
        )
    return PartCount(part, metadata.num_rows, refused)


def file_name(part: int) -> str:
    """The name of a part's file.

    >>> file_name(41)
    'part-000041.parquet'
    """
    return f"part-{part:06}.parquet"


MANIFEST_FILE: Final = "manifest.json"
Engine = Callable[["ScoringJob", Sequence[int]], Iterator[PartCount]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ScoringJob:
    plan: ScoringPlan
    out: AnyFolder
    bundle: Bundle
    settings: Settings

    def scorer(self) -> PartScorer:
        return PartScorer(self.plan, self.out, self.bundle, self.settings)


@dataclass(frozen=True)
class ScoringResult:
    """Images answered and refused, in how many parts; `parts_before` were there."""

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
    tags: str | None = None,
) -> ScoringResult:
    """Score all images of `source` into `out`, or continue to, then in the parts of before.

    `frame`: of files with several, the number of one from 1 or "middle", in place of what the card
    says. `tags`: of every image, which may choose a calibrator. Raises ScoringError, and OSError if
    a place is away.
    """
    plan = ScoringPlan.read(out)
    if plan is None:
        size = part_size or PART_SIZE
        plan = ScoringPlan.make(out, source, bundle, part_size=size, frame=frame, tags=tags)
    plan.check(source, bundle, frame, tags)
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
    """Count what the files hold and write the manifest. Raises ScoringError."""
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
