"""A fixed change of images, so that what a network makes of the changed ones can be kept under its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageTransform:
    """`apply` takes the images `start`, `start` + 1, ..., uint8 (n, C, H, W), and gives as many; `name` is a file's."""

    name: str
    apply: Callable[[Images, int], Images]


UNCHANGED = ImageTransform("", lambda inputs, _start: inputs)
