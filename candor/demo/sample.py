"""A model and images that come with Candor, to watch an alarm without data or torch.

The images are scikit-learn's digits (UCI, CC BY 4.0) that the model was not trained on. `python -m
candor.demo.sample_files` made the files in `sample/`: the graph, the card and the images.
"""

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model_store.bundle.bundle import parse_card, write_bundle
from model_store.bundle.probing import make_probes
from model_store.store.samples import Sample, write_samples
from model_store.store.store import Store

MODEL: Final = "digits"
SCALE: Final = 4  # 8 x 8 pixels become 32 x 32
TURN: Final = 50.0  # degrees, either way
BLUR: Final = 1.0  # standard deviation, pixels
NOISE: Final = 10.0  # standard deviation, gray levels of 255
OFFERED: Final = 6  # sample images for the model's page
_FOLDER: Final = files("candor.demo") / "sample"
GRAPH, CARD, IMAGES = "model.onnx", "card.json", "images.npz"


class SampleImages:
    """Images with true classes, as the model knows them or from a badly mounted camera.

    Attributes:
        pixels: (N, 8, 8) uint8, gray levels 0 to 16.
        labels: (N,) uint8, the digit.
    """

    def __init__(self, *, seed: int) -> None:
        with np.load(io.BytesIO((_FOLDER / IMAGES).read_bytes()), allow_pickle=False) as archive:
            self.pixels: NDArray[np.uint8] = archive["pixels"]
            self.labels: NDArray[np.uint8] = archive["labels"]
        self._generator = np.random.default_rng(seed)
        self._order: list[int] = []

    def draw(self, *, shifted: bool) -> tuple[bytes, str]:
        """Return the next image as PNG, and its class; all come before one comes again.

        A shifted image is turned, blurred and noisy: confidence stays, accuracy does not.
        """
        if not self._order:
            self._order = self._generator.permutation(len(self.labels)).tolist()
        index = self._order.pop()
        levels = np.rint(self.pixels[index] * (255 / 16)).astype(np.uint8)
        image = Image.fromarray(levels.repeat(SCALE, axis=0).repeat(SCALE, axis=1))
        return _png(self._spoiled(image) if shifted else image), str(self.labels[index])

    def _spoiled(self, image: Image.Image) -> Image.Image:
        angle = float(self._generator.uniform(-TURN, TURN))
        turned = image.rotate(angle, resample=Image.Resampling.BILINEAR).filter(
            ImageFilter.GaussianBlur(BLUR)
        )
        noise = self._generator.normal(scale=NOISE, size=(image.height, image.width))
        return Image.fromarray(
            np.clip(np.rint(np.asarray(turned) + noise), 0, 255).astype(np.uint8)
        )


def publish_sample(store: Store) -> int:
    """Publish the sample and put it into production, unless it is; return the version.

    Some of its images are left beside it, for those who try it in a browser.
    """
    if (serving := store.production(MODEL)) is not None:
        return serving
    version = store.publish(MODEL, _write)
    images = SampleImages(seed=0)
    drawn = [images.draw(shifted=False) for _ in range(OFFERED)]
    write_samples(
        store.storage,
        MODEL,
        [Sample(f"{digit} {place}", png) for place, (png, digit) in enumerate(drawn)],
    )
    store.promote(MODEL, version)
    return version


def _write(folder: Path, version: int) -> None:
    written = json.loads((_FOLDER / CARD).read_bytes()) | {"version": version}
    card = parse_card(folder, json.dumps(written).encode())
    onnx = (_FOLDER / GRAPH).read_bytes()
    probes = make_probes(onnx, card.input.spec)
    write_bundle(folder, card=card, onnx=onnx, probes=probes)


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()
