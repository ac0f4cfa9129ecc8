"""Images that a model was not made for: far ones, and near ones made of a set's own images."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from sklearn.datasets import load_digits, load_sample_images

SIDE = 224
Picture = Image.Image


def far_images(count: int, *, seed: int = 0) -> dict[str, list[Picture]]:
    """Noise, photographs, digits and blank images."""
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(each) for each in load_sample_images().images]
    corners = zip(random.integers(0, 440, count), random.integers(0, 227, count), strict=True)
    digits = (load_digits().images[:count] * 15.9).astype(np.uint8)
    noise = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    return {
        "noise": [Image.fromarray(each) for each in noise],
        "photographs": [
            photographs[number % 2].crop((int(x), int(y), int(x) + 200, int(y) + 200))
            for number, (x, y) in enumerate(corners)
        ],
        "digits": [Image.fromarray(each) for each in digits],
        "blank": [Image.new("L", (SIDE, SIDE), int(v)) for v in np.linspace(0, 250, count)],
    }


def on_a_screen(image: Picture) -> Picture:
    """A photograph of a screen: moire, a glare, noise, and a skewed frame."""
    random = np.random.default_rng(image.width * image.height)
    pixels = np.asarray(image.convert("RGB").resize((400, 400)), np.float32)
    y, x = np.mgrid[0:400, 0:400]
    period, angle = random.uniform(2.5, 4), random.uniform(0, 0.3)
    waves = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    waves = waves * np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
    at = random.uniform(50, 350, 2)
    glare = 60 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 7200)
    shown = pixels * (1 + 0.12 * waves[..., None]) * (0.92, 1, 1.05) + glare[..., None]
    shown = np.clip(shown + random.normal(0, 4, shown.shape), 0, 255).astype(np.uint8)
    a, b, c, d = random.uniform(0, 28, 4)
    corners = (-a, -b, -c, 400 + d, 400 + a, 400 + b, 400 + c, -d)
    return Image.fromarray(shown).transform((400, 400), Image.Transform.QUAD, corners)


def with_text(image: Picture) -> Picture:
    """Text burned in, as on a screenshot of a viewer."""
    marked = image.convert("RGB")
    size = max(8, image.height // 12)
    font, draw = ImageFont.load_default(size=size), ImageDraw.Draw(marked)
    draw.text((image.width * 0.04, image.height * 0.04), "DOE JANE 1950", "white", font=font)
    draw.text((image.width * 0.6, image.height * 0.88), "R 120kV", "white", font=font)
    return marked


def jpeg(image: Picture, quality: int) -> Picture:
    """The image after lossy compression."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert(image.mode)


def windowed(image: Picture) -> Picture:
    """The wrong window: only the middle gray values are told apart."""
    pixels = np.asarray(image, np.float32)
    low, high = np.percentile(pixels, (45, 75))
    shown = (pixels - low) / max(high - low, 1) * 255
    return Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))


def _crop(image: Picture) -> Picture:
    return image.crop((0, 0, image.width // 2, image.height // 2))


def _blurred(image: Picture) -> Picture:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 75))


NEAR: dict[str, Callable[[Picture], Picture]] = {
    "inverted": ImageOps.invert,
    "rotated": lambda image: image.rotate(90, expand=True),
    "upside down": lambda image: image.rotate(180),
    "text": with_text,
    "cropped": _crop,
    "blurred": _blurred,
    "screen": on_a_screen,
    "JPEG 10": lambda image: jpeg(image, 10),
    "window": windowed,
}
