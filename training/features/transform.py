"""A named, fixed change of images, so the features of changed images can be cached under its
name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class ImageTransform:
    """`apply` maps images, uint8 (n, C, H, W), and their numbers in the split, int64 (n,), to as
    many images.

    The result depends on image and number alone. `name` names files.
    """

    name: str
    apply: Callable[[Images, Numbers], Images]


UNCHANGED = ImageTransform("", lambda inputs, _numbers: inputs)
