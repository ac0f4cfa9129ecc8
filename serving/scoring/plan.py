"""What is to be scored: the list of images, fixed once, and which of them make up which part.

`images.parquet` has the names, a row group for each part; `plan.json` says of which folder and for
which model, and is written after it. A plan that is there is continued, whatever has been added to
the folder since.
"""

import io
import json
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from model_store.bundle.bundle import Bundle
from model_store.image import FrameChoice
from model_store.installation import install_command
from serving.scoring.folder import AnyFolder, ScoringError

PLAN_FILE: Final = "plan.json"
IMAGES_FILE: Final = "images.parquet"
PART_SIZE: Final = (
    5_000  # images: a minute or two of work of one core, and a file of less than a megabyte
)


@dataclass(frozen=True)
class ScoringPlan:
    """`images` of the folder `source`, in parts of `part_size`, for one version of a model. `key`
    names the plan.

    `frame`: which one of files with several; None: what the model was trained on. `tags`: of every
    image, as in the ledger.
    """

    key: str
    source: str
    model: str
    version: int
    digest: str
    images: int
    part_size: int
    listed: str
    frame: FrameChoice | None = None
    tags: str | None = None

    @classmethod
    def make(
        cls,
        out: AnyFolder,
        source: AnyFolder,
        bundle: Bundle,
        *,
        part_size: int = PART_SIZE,
        frame: FrameChoice | None = None,
        tags: str | None = None,
    ) -> Self:
        """List the images of `source`, and write the plan to `out`. Raises ScoringError."""
        names = source.images()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        card = bundle.card
        of_model = (card.name, card.version, bundle.digest)
        listed = (len(names), part_size, now)
        plan = cls(uuid.uuid4().hex, source.address, *of_model, *listed, frame, tags)
        out.write(IMAGES_FILE, _written(names, part_size))
        out.write(PLAN_FILE, json.dumps(asdict(plan), indent=2).encode() + b"\n")
        return plan

    @classmethod
    def read(cls, out: AnyFolder) -> Self | None:
        """The plan in `out`; None if there is none. Raises ScoringError for something else."""
        names = out.names()
        if PLAN_FILE not in names:
            if others := sorted(names - {IMAGES_FILE}):
                raise ScoringError(
                    f"{out.address} holds {others[0]} and no {PLAN_FILE}, so nothing was scored "
                    "into it before; "
                    "give --out an empty folder"
                )
            return None
        try:
            return cls(**json.loads(out.read(PLAN_FILE)))
        except (ValueError, TypeError) as error:
            raise ScoringError(
                f"{out.address}/{PLAN_FILE} is not a plan of this release ({error}); give another "
                "--out"
            ) from error

    @property
    def parts(self) -> int:
        return -(-self.images // self.part_size)

    def size_of(self, part: int) -> int:
        """How many images a part has.

        >>> plan = ScoringPlan("", "", "", 1, "", images=12, part_size=5, listed="")
        >>> [plan.size_of(part) for part in range(plan.parts)]
        [5, 5, 2]
        """
        return min(self.part_size, self.images - part * self.part_size)

    def check(
        self,
        source: AnyFolder,
        bundle: Bundle,
        frame: FrameChoice | None = None,
        tags: str | None = None,
    ) -> None:
        """Raise ScoringError if this is the plan of another source, version, frame or tags."""
        if (self.source, self.digest) != (source.address, bundle.digest):
            raise ScoringError(
                f"this --out holds answers of {self.model} version {self.version} to the images "
                f"of {self.source} as "
                f"of {self.listed}; repeat that command to continue, or give another --out"
            )
        if self.frame != frame:
            begun = "without --frame" if self.frame is None else f"with --frame {self.frame}"
            raise ScoringError(
                f"this --out was begun {begun}; repeat that command to continue, or give another "
                "--out"
            )
        if self.tags != tags:
            raise ScoringError(
                f"this --out was begun with the tags {self.tags or 'of none'}; repeat that command "
                "to continue, or give another --out"
            )


class ImageList:
    """The names of all images, kept as the file that holds them: a few megabytes for a million."""

    def __init__(self, out: AnyFolder) -> None:
        """Read the list of the plan in `out`. Raises OSError, and ScoringError without Parquet."""
        self._file = parquet().ParquetFile(io.BytesIO(out.read(IMAGES_FILE)))

    def of_part(self, part: int) -> list[str]:
        names: list[str] = self._file.read_row_group(part)["file"].to_pylist()
        return names


def parquet() -> Any:
    """The module pyarrow.parquet. Raises ScoringError if it is not installed."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ScoringError(
            f"--out writes Parquet, which needs more packages: {install_command('parquet')}"
        ) from error
    return pyarrow.parquet


def _written(names: list[str], part_size: int) -> bytes:
    writer = parquet()
    import pyarrow

    buffer = io.BytesIO()
    writer.write_table(pyarrow.table({"file": names}), buffer, row_group_size=part_size)
    return buffer.getvalue()
