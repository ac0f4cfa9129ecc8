"""Scoring: every image of a folder is read, decoded within limits, inferred in batches and written
with the others of its part as one Parquet file.

What has a row already is left out, so that a command that was interrupted is simply repeated. An
image that cannot be read or decoded, or is refused as out of scope, has a row too, with the reason
in `error`.
"""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import numpy as np

from calibration.wording import parameter
from hosting.settings import Settings
from model_store.bundle.bundle import Bundle
from model_store.errors import ImageError
from model_store.image import FrameChoice
from model_store.installation import install_command
from serving.decoding.decoder import Decoder
from serving.inference.prediction import ScopePolicy
from serving.inference.predictor import open_predictor
from serving.scoring.columns import cells, columns_of
from serving.scoring.folder import AnyFolder, ScoringError

PART_SIZE: Final = 5_000  # images: a minute or two of work of one core, less than a megabyte
ASKED: Final = b"candor.asked"
READERS: Final = 8  # files read at a time, for folders at an address, whose reads are slow
UNREADABLE: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
)  # of this image; others are of the folder
Part = tuple[str, ...]  # the names of its images


@dataclass(frozen=True)
class ScoringJob:
    """What is asked of all images of `source`, whose answers `out` takes.

    `frame`: which one of files with several; None: what the model was trained on. `tags`: of every
    image, as in the ledger.
    """

    source: AnyFolder
    out: AnyFolder
    bundle: Bundle
    settings: Settings
    frame: FrameChoice | None = None
    tags: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What each file of answers says of its rows."""
        card = self.bundle.card
        asked = {"source": self.source.address, "model": card.name, "version": card.version}
        return asked | {"digest": self.bundle.digest, "frame": self.frame, "tags": self.tags}

    def scorer(self) -> "PartScorer":
        return PartScorer(self)


class PartScorer:
    """Scores parts. Use it from one thread; close it at the end."""

    def __init__(self, job: ScoringJob) -> None:
        """Its bundle must be verified. Raises ModelUnusable."""
        settings = job.settings
        self._job = job
        self._predictor = open_predictor(
            job.bundle,
            threads=settings.threads,
            device=settings.device,
            on_difference=settings.on_difference,
            scope=ScopePolicy(settings.scope_alpha, settings.scope_out),
        )
        self._batch = settings.max_batch
        self._loop = asyncio.Runner()
        self._decoder = Decoder(settings, observe_s=lambda _: None)
        self._readers = ThreadPoolExecutor(READERS)

    def score(self, part: Part) -> tuple[int, int]:
        """Write the file of a part; how many images, and how many of them were refused. Raises
        OSError if a folder is away.
        """
        rows: list[dict[str, Any]] = []
        names = iter(part)
        while batch := list(islice(names, self._batch)):
            rows += self._rows(batch)
        self._job.out.write(file_name(part), self._written(rows))
        return len(rows), sum("error" in row for row in rows)

    def close(self) -> None:
        self._readers.shutdown()
        self._decoder.close()
        self._loop.close()

    def _rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        images = [self._decoded(content) for content in self._readers.map(self._content, names)]
        sound = [image[0] for image in images if not isinstance(image, str)]
        tags = self._job.tags
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
            return self._job.source.read(name)
        except UNREADABLE as error:
            return error.strerror or type(error).__name__

    def _decoded(self, content: bytes | str) -> tuple[Any, dict[str, int]] | str:
        """The pixels, (C, H, W), with what its row says of the frame; or why there are none."""
        if isinstance(content, str):
            return content
        spec = self._predictor.card.input.spec
        try:
            if self._job.frame is None:
                return self._loop.run(self._decoder.decode(content, spec)), {}
            found = self._decoder.decode_frames(content, spec, self._job.frame, limit=1)
            frames = self._loop.run(found)
            return frames.pixels[0], {"frame": frames.first}
        except ImageError as error:
            return str(error)

    def _written(self, rows: list[dict[str, Any]]) -> bytes:
        import pyarrow as pa

        own = {"list": pa.list_(pa.string()), "bool": pa.bool_()}
        chosen = {} if self._job.frame is None else {"frame": "int64"}
        kinds = {"file": "string"} | chosen | {"model": "string", "version": "int64"}
        kinds |= columns_of(self._predictor.card) | {"error": "string"}
        schema = pa.schema([(name, own.get(kind, kind)) for name, kind in kinds.items()])
        asked = self._job.asked
        named = {name: asked[name] for name in ("model", "version")}
        table = pa.Table.from_pylist(
            [named | row for row in rows], schema=schema.with_metadata({ASKED: json.dumps(asked)})
        )
        buffer = io.BytesIO()
        parquet().write_table(table, buffer)
        return buffer.getvalue()


def file_name(part: Part) -> str:
    """The name of a part's file, the same whoever scores it: two that do leave one file."""
    return f"part-{sha256(json.dumps(part).encode()).hexdigest()[:16]}.parquet"


Engine = Callable[[ScoringJob, Sequence[Part]], Iterator[tuple[int, int]]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ScoringResult:
    """Images answered and refused, in how many files; `parts_before` were there."""

    out: str
    images: int
    refused: int
    parts: int
    parts_before: int


def score(job: ScoringJob, *, engine: Engine, progress: Progress) -> ScoringResult:
    """Score the images that have no row yet.

    Raises ScoringError, among others if `out` holds something else, and OSError if a place is away.
    """
    before, done, refused = _found(job)
    images = job.source.images()
    missing = [name for name in images if name not in done]
    parts = [
        tuple(missing[start : start + PART_SIZE]) for start in range(0, len(missing), PART_SIZE)
    ]
    count = len(done)
    progress("images", count, count + len(missing))
    for scored, of_them_refused in engine(job, parts):
        count, refused = count + scored, refused + of_them_refused
        progress("images", count, len(done) + len(missing))
    return ScoringResult(job.out.address, count, refused, before + len(parts), before)


def in_this_process(job: ScoringJob, parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    """The engine that scores the parts here, one after another."""
    if not parts:
        return
    scorer = job.scorer()
    try:
        yield from map(scorer.score, parts)
    finally:
        scorer.close()


def _found(job: ScoringJob) -> tuple[int, set[str], int]:
    """How many files are there, the images that have a row in them, and how many were refused.
    Raises ScoringError.
    """
    names = sorted(name for name in job.out.names() if not name.startswith("."))
    done, refused = set[str](), 0
    for name in names:
        if not (name.startswith("part-") and name.endswith(".parquet")):
            raise ScoringError(
                f"{job.out.address} holds {name}, which no scoring wrote; give "
                f"{parameter('out')} an empty folder, or one that the same command wrote"
            )
        table = _read(job, name)
        done.update(table["file"].to_pylist())
        refused += len(table) - table["error"].null_count
    return len(names), done, refused


def _read(job: ScoringJob, name: str) -> Any:
    """The columns `file` and `error` of a file of answers. Raises ScoringError if another's."""
    place = f"{job.out.address}/{name}"
    try:
        file = parquet().ParquetFile(io.BytesIO(job.out.read(name)))
        metadata = file.schema_arrow.metadata or {}
        asked, table = json.loads(metadata[ASKED]), file.read(["file", "error"])
    except (OSError, ValueError, KeyError) as error:
        raise ScoringError(f"{place} is damaged ({error}); delete it, and repeat") from error
    if asked != job.asked:
        differ = ", ".join(
            f"{each} {asked.get(each)}" for each in job.asked if asked.get(each) != job.asked[each]
        )
        raise ScoringError(
            f"{place} has answers of another command ({differ}); repeat that command to continue, "
            f"or give another {parameter('out')}"
        )
    return table


def parquet() -> Any:
    """The module pyarrow.parquet. Raises ScoringError if it is not installed."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ScoringError(
            f"{parameter('out')} writes Parquet, which needs more packages: "
            f"{install_command('parquet')}"
        ) from error
    return pyarrow.parquet
