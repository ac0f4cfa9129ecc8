"""What a layout finds on disk before any image is opened: records and their listing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from calibration.findings.labels import UncertainAs
from calibration.wording import counted
from model_store.image.frames import Frames
from model_store.image.gray import Window
from training.datasets.label_kind import CLASSES, LabelKind

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")

NOUNS = {
    "content": ("image content", "image contents"),
    "group": ("patient or group", "patients or groups"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One labeled image file.

    `label` indexes the listing's classes; with findings it has 1, 0 or NaN for each. `cells` are
    what else a table says of the image, by column. `group` names the patient or slide, whose images
    must stay in one split. `split` is the publisher's or the user's; None if it will be drawn.
    """

    path: Path
    label: int | tuple[float, ...]
    cells: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    split: SplitName | None = None


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that is left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """Everything that a layout knows about a data set.

    `columns` are those of the records' cells. `kind`: of findings, an image may have several of
    `classes`, or none. `notes` are sentences for the user who trains on the data.
    """

    name: str
    layout: str
    root: Path
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: LabelKind = CLASSES


class LoadArguments(TypedDict, total=False):
    """The arguments of `load_dataset` that a user chooses, by name."""

    layout: str | None
    group: str | None
    group_pattern: str | None
    allow_leakage: bool
    max_corrupt: float
    window: Window | None
    first_frame: bool
    findings: str | None
    exclusive: bool
    uncertain: UncertainAs


@dataclass(frozen=True)
class LoadedFrom:
    """Where a data set came from: every argument of `load_dataset` that changes what it returns."""

    source: str
    layout: str | None = None
    group_pattern: str | None = None
    allow_leakage: bool = False
    max_corrupt: float = 0.01
    window: Window | None = None
    first_frame: bool = False
    seed: int = 0
    findings: str | None = None
    exclusive: bool = False
    uncertain: UncertainAs = "missing"
    group: str | None = None

    @property
    def frames(self) -> Frames:
        """What the decoder does with a file of several frames."""
        return "first" if self.first_frame else "one"


@dataclass(frozen=True)
class Overlap:
    """What two splits share.

    `count` contents or groups are in both: `images[0]` images of the first split and `images[1]` of
    the second. `examples` name pairs of images, "x.png = y.png".
    """

    kind: Literal["content", "group"]
    splits: tuple[SplitName, SplitName]
    count: int
    images: tuple[int, int]
    examples: tuple[str, ...]

    def __str__(self) -> str:
        first, second = self.splits
        noun = NOUNS[self.kind][self.count > 1]
        inside = f"{counted(self.images[0], 'image')} of {first}, {self.images[1]} of {second}"
        return (
            f"{self.count} {noun} in both {first} and {second} ({inside}; e.g. "
            f"{', '.join(self.examples)})"
        )
