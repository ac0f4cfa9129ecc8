"""Small copies of real data sets on disk, each with its traps, made on the spot."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.builders.dicoms import SERIES, dicom

FOLDERS = (
    "01_TUMOR",
    "02_STROMA",
    "03_COMPLEX",
    "04_LYMPHO",
    "05_DEBRIS",
    "06_MUCOSA",
    "07_ADIPOSE",
    "08_EMPTY",
)
IMAGES, TABLE = "stage_1_train_images", "stage_1_train.csv"


def pictures(*, side: int = 9) -> Iterator[npt.NDArray[np.uint8]]:
    """Endless gray pictures, no two alike."""
    generator = np.random.default_rng(0)
    while True:
        yield generator.integers(0, 256, (side, side), dtype=np.uint8)


def write(path: Path, pixels: npt.NDArray[np.uint8], *, mode: str = "L") -> Path:
    """Write an image file, lossless where its suffix allows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def mendeley(root: Path) -> Path:
    """Without Kaggle's `val`.

    Patients 1 to 6 have two images of pneumonia each in train; test numbers its patients from 1
    again.
    """
    some = pictures()
    for patient, image in itertools.product(range(1, 7), range(2)):
        write(
            root / f"train/PNEUMONIA/person{patient}_bacteria_{2 * patient + image}.jpeg",
            next(some),
        )
        write(root / f"train/NORMAL/IM-{100 + patient}-000{image}.jpeg", next(some))
    for number in range(1, 5):
        write(root / f"test/PNEUMONIA/person{number}_virus_{number}.jpeg", next(some))
        write(root / f"test/NORMAL/NORMAL2-IM-{number}-0001.jpeg", next(some), mode="RGB")
    return root


def kather(root: Path, *, slides: int = 10, tiles: int = 2) -> Path:
    """Every class has `tiles` tiles of each slide."""
    some = pictures()
    for number, folder in enumerate(FOLDERS):
        for slide, tile in itertools.product(range(1, slides + 1), range(tiles)):
            file = f"{number}{slide}{tile}_CRC-Prim-HE-{slide:02}_00{tile}.tif_Row_{150 * tile}_Col_1.tif"
            write(root / folder / file, next(some), mode="RGB")
    return root


KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def rsna(root: Path, *, patients: int = 20, slices: int = 2) -> Path:
    """Signed CT slices with several windows, one MONOCHROME1, a repeated row, and the file known to
    be short.

    Every other patient bleeds.
    """
    rows: list[tuple[str, int]] = []
    (root / IMAGES).mkdir(parents=True)
    for patient, image in itertools.product(range(patients), range(slices)):
        name, bleeds = f"ID_{patient:04x}{image:05x}", patient % 2
        where = "subdural" if patient % 4 == 1 else "epidural"
        rows += [(f"{name}_{kind}", bleeds if kind in ("any", where) else 0) for kind in KINDS]
        pixels = np.random.default_rng(len(rows)).integers(0, 2000, (8, 8)).astype(np.int16)
        tags: dict[str, Any] = {
            "WindowCenter": [36, 600],
            "WindowWidth": [80, 2800],
            "PatientID": f"ID_p{patient}",
        }
        tags |= {"RescaleSlope": 1, "RescaleIntercept": -1024}
        if patient == 0:
            tags["PhotometricInterpretation"] = "MONOCHROME1"
        (root / IMAGES / f"{name}.dcm").write_bytes(dicom(pixels, **tags))
    rows += rows[:6]
    rows += [(f"ID_6431af929_{kind}", 0) for kind in KINDS]
    (root / IMAGES / "ID_6431af929.dcm").write_bytes(dicom(np.zeros((8, 8), np.int16), keep=50))
    table(root / TABLE, ("ID", "Label"), rows)
    return root


DDSM_HEADER = (
    "patient_id",
    "breast_density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "pathology",
    "image file path",
    "cropped image file path",
)


def ddsm(root: Path, *, by_uid: bool) -> Path:
    """Both forms of the tree: folders named by UIDs as in the tables, or by date and number.

    Masses 1 to 12, the last four in test, each in both views. Every view has two findings. If the
    patient's number is even, one of them is malignant: the second in CC, the first in MLO. Paths
    contain line breaks. Images have 16 bits, and masks are beside them.
    """
    rows: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}
    some = pictures()
    for patient, view in itertools.product(range(1, 13), ("CC", "MLO")):
        split = "test" if patient > 8 else "train"
        kind = "Test" if split == "test" else "Training"
        place = f"Mass-{kind}_P_{patient:05}_LEFT_{view}"
        series = f"{SERIES}.{patient}{1 if view == 'CC' else 2}"
        path = f"{place}/{SERIES}.9/{series}/000000.dcm"
        for finding in (1, 2):
            worse = (
                "MALIGNANT"
                if patient % 2 == 0 and (finding == 2) == (view == "CC")
                else "BENIGN_WITHOUT_CALLBACK"
            )
            broken = f"{path}\n" if finding == 2 else path
            fields = (
                f"P_{patient:05}",
                "3",
                "LEFT",
                view,
                str(finding),
                "mass",
                worse,
                broken,
                f"{place}_{finding}/x.dcm\n",
            )
            rows[split].append(fields)
        folder = (
            f"{place}/{SERIES}.9/{series}"
            if by_uid
            else f"CBIS-DDSM/{place}/07-20-2016-DDSM-{patient}/1.000000-full"
        )
        file = root / folder / ("000000.dcm" if by_uid else "1-1.dcm")
        file.parent.mkdir(parents=True)
        pixels = next(some).astype(np.uint16) * 256
        tags = {"PatientID": place, "SeriesInstanceUID": series}
        file.write_bytes(dicom(pixels, **tags))
        mask = file.parents[2].with_name(f"{place}_1") / "s/t/1-2.dcm"
        mask.parent.mkdir(parents=True)
        mask.write_bytes(dicom(np.zeros((9, 9), np.uint8), **tags))
    for split, lines in rows.items():
        table(root / f"mass_case_description_{split}_set.csv", DDSM_HEADER, lines)
    return root
