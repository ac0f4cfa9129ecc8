"""Which frames of a file are meant, and what a frame of a DICOM file says of itself.

A card says what its model does with a file of several frames; whoever asks for an answer may choose
others, by number from 1 as DICOM counts them, the middle one, or all. Source: DICOM PS3.3 C.7.6.16
(functional groups).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from model_store.errors import NoSuchFrame, TooManyFrames, UnsupportedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a card says of a file with several frames: refuse it, or use the first.
Frames = Literal["one", "first"]
Named: TypeAlias = Literal["middle", "all"]
FrameChoice: TypeAlias = int | Named

MOST_FRAMES: Final = 256  # that are decoded at a time, where nobody says otherwise
CHOICES: Final = 'the number of a frame from 1, "middle" or "all"'
# In enhanced objects, these stand in the item of a macro; elsewhere at the top of the data set.
_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
}
_GRAY: Final = (
    *("PixelPaddingValue", "ModalityLUTSequence"),
    *("PixelRepresentation", "BitsAllocated", "BitsStored"),
    *(name for names in _MACROS.values() for name in names),
)


class DecodedFrames(NamedTuple):
    """Frames as the model's input, (N, C, H, W) uint8, and the number of the first."""

    pixels: npt.NDArray[np.uint8]
    first: int

    @property
    def numbers(self) -> range:
        """The numbers of the frames, from 1."""
        return range(self.first, self.first + len(self.pixels))


def read_choice(text: str) -> FrameChoice:
    """The choice that a text names. Raises ValueError.

    >>> read_choice("3"), read_choice("middle"), read_choice("all")
    (3, 'middle', 'all')
    """
    if text in get_args(Named):
        return cast(Named, text)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError(f"{text[:40]!r} chooses no frame; expected {CHOICES}")
    return int(text)


def chosen(count: int, choice: "Frames | FrameChoice", *, most: int = MOST_FRAMES) -> range:
    """The numbers, from 1, of the frames that are meant in a file of `count`.

    Raises UnsupportedImage for a file of several where "one" is expected, NoSuchFrame, and
    TooManyFrames for over `most`.

    >>> chosen(12, "middle"), chosen(3, "all")
    (range(6, 7), range(1, 4))
    """
    if choice == "one" and count != 1:
        raise UnsupportedImage(
            f"a DICOM file of {count} frames", f"a single frame, or a choice: {CHOICES}"
        )
    if choice == "all":
        if count > most:
            raise TooManyFrames(count, f"{most} at a time")
        return range(1, count + 1)
    number = {"middle": (count + 1) // 2}.get(choice, 1) if isinstance(choice, str) else choice
    if not 1 <= number <= count:
        raise NoSuchFrame(number, count)
    return range(number, number + 1)


def described(dataset: "Dataset", number: int) -> "Dataset":
    """What makes the values of frame `number` gray, at the top of a data set.

    Without functional groups, which enhanced objects have, it is the data set itself.
    """
    of_groups: dict[str, Any] = {}
    for group in (*_items(dataset, "Shared", 1), *_items(dataset, "PerFrame", number)):
        for macro, names in _MACROS.items():
            for item in list(group.get(macro) or ())[:1]:
                of_groups |= {name: item.get(name) for name in names if name in item}
    if not of_groups:
        return dataset
    from pydicom.dataset import Dataset

    result = Dataset()
    values = {name: dataset.get(name) for name in _GRAY if name in dataset} | of_groups
    for name, value in values.items():
        setattr(result, name, value)
    return result


def _items(dataset: "Dataset", which: str, number: int) -> "list[Dataset]":
    return list(dataset.get(f"{which}FunctionalGroupsSequence") or ())[number - 1 : number]
