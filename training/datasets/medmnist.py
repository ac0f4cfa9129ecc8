"""MedMNIST's .npz files: every 2-D set, at any of its sizes.

Source: Yang et al., *MedMNIST v2*, Scientific Data 2023; https://medmnist.com. Keys
`{train,val,test}_{images,labels}`, images uint8 (N, H, W) or (N, H, W, 3), labels (N, 1)
or, for findings, (N, K): 1 present, 0 absent, -1 uncertain, NaN unknown. 3-D sets are refused, by
name and by shape. RetinaMNIST, published for ordinal regression, is read as five classes. The
package medmnist downloads the files.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from calibration.findings.labels import UNCERTAIN, FindingLabels
from calibration.wording import counted
from training.datasets.errors import BadDataset
from training.datasets.finding_labels import (
    ReadLabels,
    chosen_findings,
    decide,
    require_classes,
)
from training.datasets.table import SPLIT_NAMES, ImageTable, Labels, SplitName
from training.load_options import LoadOptions

_ORGANS = (
    "bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left; "
    "lung-right; pancreas; spleen"
)
# Images in train, val and test, and class names by label: `info.py` of the package medmnist 3.0.2
PUBLISHED = {
    "bloodmnist": (
        (11959, 1712, 3421),
        "basophil; eosinophil; erythroblast; immature granulocytes(myelocytes, metamyelocytes and "
        "promyelocytes); lymphocyte; monocyte; neutrophil; platelet",
    ),
    "breastmnist": ((546, 78, 156), "malignant; normal, benign"),
    "chestmnist": (
        (78468, 11219, 22433),
        "atelectasis; cardiomegaly; effusion; infiltration; mass; nodule; pneumonia; pneumothorax; "
        "consolidation; edema; emphysema; fibrosis; pleural; hernia",
    ),
    "dermamnist": (
        (7007, 1003, 2005),
        "actinic keratoses and intraepithelial carcinoma; basal cell carcinoma; benign "
        "keratosis-like lesions; dermatofibroma; melanoma; melanocytic nevi; vascular lesions",
    ),
    "octmnist": (
        (97477, 10832, 1000),
        "choroidal neovascularization; diabetic macular edema; drusen; normal",
    ),
    "organamnist": ((34561, 6491, 17778), _ORGANS),
    "organcmnist": ((12975, 2392, 8216), _ORGANS),
    "organsmnist": ((13932, 2452, 8827), _ORGANS),
    "pathmnist": (
        (89996, 10004, 7180),
        "adipose; background; debris; lymphocytes; mucus; smooth muscle; normal colon mucosa; "
        "cancer-associated stroma; colorectal adenocarcinoma epithelium",
    ),
    "pneumoniamnist": ((4708, 524, 624), "normal; pneumonia"),
    "retinamnist": ((1080, 120, 400), "0; 1; 2; 3; 4"),
    "tissuemnist": (
        (165466, 23640, 47280),
        "Collecting Duct, Connecting Tubule; Distal Convoluted Tubule; Glomerular endothelial "
        "cells; Interstitial endothelial cells; Leukocytes; Podocytes; Proximal Tubule Segments; "
        "Thick Ascending Limb",
    ),
}
Arrays = Mapping[str, NDArray[Any]]


def read_medmnist(file: Path, options: LoadOptions) -> ImageTable:
    """The images of an .npz.

    Names come from the file's own `classes` key, else from the set's name, else `class_0`,
    `class_1`, ... Raises BadDataset if the file is not such an archive. Nothing is unpickled.
    """
    title = file.stem.partition("_")[0].lower()
    if title.endswith("mnist3d"):
        raise BadDataset(
            file, "cannot be used: its images are volumes, and Candor's networks take images"
        )
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadDataset(file, f"not a readable .npz archive ({error})") from error
    labels = {name: _labels(file, arrays, name) for name in SPLIT_NAMES}
    sizes, names = PUBLISHED.get(title, ((), ""))
    given = tuple(names.split("; ")) if names else None
    if "classes" in arrays:
        given = tuple(normalize("NFC", str(name)) for name in arrays["classes"])
    found = _decided(file, given, labels, options)
    counts = [len(each) for each in labels.values()]
    return ImageTable(
        name=file.stem,
        layout="medmnist",
        root=file,
        classes=found.names,
        kind=found.kind,
        labels=found.values,
        splits=[
            name for name, count in zip(SPLIT_NAMES, counts, strict=True) for _ in range(count)
        ],
        pixels={name: arrays[f"{name}_images"] for name in SPLIT_NAMES},
        published=sizes == tuple(counts),
        notes=found.notes,
    )


def _labels(file: Path, arrays: Arrays, name: SplitName) -> Labels:
    """The labels of a split: int64 (N,), or float64 (N, K) if they may be findings."""
    missing = [key for key in (f"{name}_images", f"{name}_labels") if key not in arrays]
    if missing:
        raise BadDataset(
            file,
            f"has no {' or '.join(missing)}; a MedMNIST file has images and labels for every split",
        )
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or images.shape[3:] == (3,)):
        raise BadDataset(
            file,
            f"{name}_images are {images.dtype} {images.shape}; expected uint8 (N, H, W) or (N, H, "
            "W, 3)",
        )
    several = labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == len(images)
    if several and np.isin(labels[~np.isnan(labels.astype(float))], (0, 1, UNCERTAIN)).all():
        return labels.astype(np.float64)
    if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise BadDataset(
            file,
            f"{name}_labels are {labels.dtype} {labels.shape} for {len(images)} images; expected "
            "one integer per image, or for findings (N, K) with 1, 0, -1 and NaN",
        )
    return labels.reshape(-1).astype(np.int64)


def _decided(
    file: Path,
    names: tuple[str, ...] | None,
    labels: Mapping[SplitName, Labels],
    options: LoadOptions,
) -> ReadLabels:
    """Labels (N, K) are findings, or classes if they are one-hot."""
    shapes = {each.shape[1:] for each in labels.values()}
    if shapes == {()}:
        require_classes(file, options, "has one label for each image; findings need labels (N, K)")
        if not all(len(each) for each in labels.values()):
            raise BadDataset(file, "has an empty split")
        together = np.concatenate([*labels.values()])
        if together.min() < 0:
            raise BadDataset(file, "has a negative label")
        return ReadLabels(_named(file, names, 1 + int(together.max())), together)
    if len(shapes) > 1:
        raise BadDataset(file, f"has labels of several shapes: {sorted(shapes)}")
    together = np.concatenate([*labels.values()])
    count = together.shape[1]
    named = _named(file, names, count)
    if len(named) != count:
        raise BadDataset(file, f"names {len(named)} findings, and its labels have {count} columns")
    chosen = chosen_findings(options) or list(named)
    if missing := [name for name in chosen if name not in named]:
        raise BadDataset(file, f"has no finding {missing[0]!r}; it has {', '.join(named)}")
    columns = [named.index(name) for name in chosen]
    return decide(file, FindingLabels(tuple(chosen), together[:, columns]), options)


def _named(file: Path, names: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    """Names for labels 0..count-1."""
    if names is None:
        return tuple(f"class_{label}" for label in range(count))
    if len(names) < count:
        raise BadDataset(
            file, f"has labels up to {count - 1} but names only {counted(len(names), 'class')}"
        )
    return names
