"""A named, fixed change of images, so the features of changed images can be cached under its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageTransform:
    """`apply` maps the images `start`, `start` + 1, ..., uint8 (n, C, H, W), to as many; `name` names files."""

    name: str
    apply: Callable[[Images, int], Images]


UNCHANGED = ImageTransform("", lambda inputs, _start: inputs)
