"""Folders of images as strangers bring them: few, many classes, rare classes, color, DICOM, of
unequal size.

The images come from scikit-learn, scikit-image (extra `bench`) and the data sets below
`CANDOR_DATA`. Every folder is the same each time it is written; none has splits, so Candor draws
them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

Pixels = NDArray[np.uint8]
TILE = 32  # pixels
# Tiles of these photographs of scikit-image, at most so many of each: 12 classes of unequal size.
TEXTURES = {
    "brick": 200,
    "grass": 160,
    "gravel": 130,
    "retina": 110,
    "moon": 90,
    "immunohistochemistry": 75,
    "hubble_deep_field": 60,
    "coffee": 50,
    "cat": 40,
    "astronaut": 30,
    "cell": 20,
    "coins": 12,
}


def rare(folder: Path, data: Path) -> None:
    """348 gray radiographs of 256 pixels as JPEG: 230 without findings, 115 with pneumonia, three
    with covid.
    """
    for name, count in (("no_findings", 230), ("pneumonia", 115), ("covid-19", 3)):
        for path in radiographs(data, name)[:count]:
            _save(folder / name / path.name, np.asarray(Image.open(path)))


def dicom(folder: Path, data: Path) -> None:
    """320 radiographs of 256 pixels as DICOM, two of each patient: 240 with pneumonia, 80 with
    covid.
    """
    number = 0
    for name, count in (("pneumonia", 240), ("covid-19", 80)):
        for path in radiographs(data, name)[-count:]:
            _save_dicom(
                folder / name / f"{path.stem}.dcm",
                np.asarray(Image.open(path)),
                patient=f"{number // 2}",
            )
            number += 1


def pneumonia(folder: Path, data: Path) -> None:
    """1100 gray images of 28 pixels as PNG from PneumoniaMNIST: 1000 with pneumonia, 100 normal."""
    with np.load(data / "pneumoniamnist.npz") as arrays:
        pixels, labels = arrays["train_images"], arrays["train_labels"].ravel()
    for label, name, count in ((0, "normal", 100), (1, "pneumonia", 1000)):
        for number, image in enumerate(pixels[labels == label][:count]):
            _save(folder / name / f"{number}.png", image)


def digits(folder: Path, data: Path) -> None:
    """1797 gray images of 8 pixels as PNG: ten classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for number, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        _save(folder / str(label) / f"{number}.png", np.rint(image * 255 / 16).astype(np.uint8))


def stain(folder: Path, data: Path) -> None:
    """441 color tiles of 24 pixels as PNG, in three classes by how strongly a tissue section is
    stained.

    Most tiles are not stained and few are strongly; the names have brackets and colons.
    """
    from skimage import data as photographs
    from skimage.color import rgb2hed

    section = photographs.immunohistochemistry()
    found = tiles(section, 24)
    strength = np.array([rgb2hed(tile)[..., 2].mean() for tile in found])
    edges = np.quantile(strength, (0.6, 0.9))
    for number, (tile, grade) in enumerate(zip(found, np.digitize(strength, edges), strict=True)):
        name = ("stain: none", "stain [weak]", "stain [strong]")[grade]
        _save(folder / name / f"{number}.png", tile)


def textures(folder: Path, data: Path) -> None:
    """977 gray tiles of 32 pixels as PNG, in twelve classes of 200 to 12."""
    from skimage import data as photographs

    for name, count in TEXTURES.items():
        image = getattr(photographs, name)()
        gray = np.asarray(Image.fromarray(image).convert("L"))
        found = tiles(gray, TILE)
        chosen = np.random.default_rng(0).permutation(len(found))[:count]
        for number in sorted(chosen):
            _save(folder / name / f"{number}.png", found[number])


def faces(folder: Path, data: Path) -> None:
    """200 gray images of 25 pixels as PNG: 100 faces, and 100 parts of pictures of faces."""
    from skimage import data as photographs

    images = np.rint(255 * np.clip(photographs.lfw_subset(), 0, 1)).astype(np.uint8)
    for number, image in enumerate(images):
        _save(folder / ("face" if number < 100 else "other") / f"{number}.png", image)


def unequal(folder: Path, data: Path) -> None:
    """1124 radiographs as JPEG, three classes, each image scaled to a size of its own between 60
    and 256 pixels.
    """
    generator = np.random.default_rng(0)
    for name in ("no_findings", "pneumonia", "covid-19"):
        for path in radiographs(data, name):
            side = int(generator.integers(60, 257))
            image = Image.open(path).resize((side, int(side * generator.uniform(0.7, 1.3))))
            _save(folder / name / path.name, np.asarray(image))


FOLDERS: dict[str, Callable[[Path, Path], None]] = {
    each.__name__: each
    for each in (rare, stain, textures, pneumonia, dicom, digits, faces, unequal)
}


def radiographs(data: Path, name: str) -> list[Path]:
    """The images of a class of chest_xray3, sorted."""
    return sorted((data / "chest_xray3").glob(f"*/{name}/*.jpg"), key=lambda path: path.name)


def tiles(image: Pixels, side: int) -> list[Pixels]:
    """The square tiles of an image (H, W) or (H, W, 3), row by row, without a rest."""
    height, width = image.shape[:2]
    return [
        image[top : top + side, left : left + side]
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _save_dicom(path: Path, pixels: Pixels, *, patient: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    file.PatientID, file.Modality, file.PhotometricInterpretation = patient, "CR", "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape
    (
        file.SamplesPerPixel,
        file.BitsAllocated,
        file.BitsStored,
        file.HighBit,
        file.PixelRepresentation,
    ) = 1, 8, 8, 7, 0
    file.PixelData = pixels.tobytes()
    file.save_as(path)
