"""scikit-learn's bundled digits with a corrupted test split: the demo's data if no real images are
available.

Train and validation are clean. The test split imitates a worse, badly mounted camera: each image is
rotated by up to 50 degrees either way, blurred, lowered in contrast, and noisy. Models often
mistake a rotated digit for another one with full confidence, so accuracy falls much more than
confidence, as with a chest X-ray model in another hospital. Blur and noise alone would not suffice:
DCA lowers its confidence for them. A fixed seed draws the corruption, so the data set is the same
for every training seed.
"""

import numpy as np
from numpy.typing import NDArray

from calibration.sampling import stratified_parts
from training.datasets.dataset import ArrayImages, Dataset, Split, fingerprint
from training.datasets.table import SplitName

NAME = "digits-corrupted"
SHARES = (0.4, 0.2, 0.4)  # 1797 images: about 719 train, 359 val, 719 test
SCALE = 4  # 8 x 8 pixels become 32 x 32
TURN = 50.0  # degrees, either way
BLUR = 1.0  # standard deviation, pixels
CONTRAST = 0.9
NOISE = 10.0  # standard deviation, gray levels of 255


def read_digits() -> Dataset:
    """The corrupted digits: ten classes, 32 x 32 gray images."""
    parts = digit_levels()
    splits: dict[SplitName, Split] = {
        name: Split(
            ArrayImages(
                _enlarged(levels) if name != "test" else corrupted(_enlarged(levels), seed=0)
            ),
            labels,
        )
        for name, (levels, labels) in parts.items()
    }
    classes = tuple(str(digit) for digit in range(10))
    return Dataset(NAME, classes, 1, 8 * SCALE, splits, fingerprint(classes, splits))


def intact_digits() -> Split:
    """The images of the test split as they were before their corruption."""
    levels, labels = digit_levels()["test"]
    return Split(ArrayImages(_enlarged(levels)), labels)


def digit_levels() -> dict[SplitName, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """The digits as they are: gray levels of 0 to 16, (N, 8, 8), and labels, (N,), by split."""
    from sklearn.datasets import load_digits  # a second to import, for these digits alone

    bunch = load_digits()
    levels = np.asarray(bunch.images, np.uint8)
    labels = np.asarray(bunch.target, np.int64)
    names: tuple[SplitName, ...] = ("train", "val", "test")
    parts = stratified_parts(labels, SHARES, seed=0)
    return {name: (levels[part], labels[part]) for name, part in zip(names, parts, strict=True)}


def corrupted(pixels: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Rotated, blurred, flattened and noisy copies of gray images, uint8 (N, H, W)."""
    from scipy.ndimage import gaussian_filter, rotate

    generator = np.random.default_rng(seed)
    angles = generator.uniform(-TURN, TURN, size=len(pixels))
    turned = [
        rotate(image.astype(np.float64), angle, reshape=False, order=1)
        for image, angle in zip(pixels, angles, strict=True)
    ]
    blurred = gaussian_filter(np.stack(turned), sigma=(0, BLUR, BLUR))
    noise = generator.normal(scale=NOISE, size=pixels.shape)
    return np.clip(np.rint(127.5 + CONTRAST * (blurred - 127.5) + noise), 0, 255).astype(np.uint8)


def _enlarged(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 8, 8) of 0..16 -> uint8 (N, 32, 32) of 0..255."""
    return np.rint(images * (255 / 16)).astype(np.uint8).repeat(SCALE, axis=1).repeat(SCALE, axis=2)
