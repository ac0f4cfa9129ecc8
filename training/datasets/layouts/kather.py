"""Kather 5000, colorectal histology tiles (Kather et al. 2016): eight class folders of 625 tiles.

Archives nest the tree once or twice. There are two layouts. `kather` draws tile by tile, as the
paper does; the splits then share slides, and figures come out too good. `kather-slides` keeps the
tiles of a slide together; the slide is in the file name, as in
10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif.
"""

import re
from functools import partial
from pathlib import Path

from model_store.image.suffixes import images_below
from training.datasets.errors import BadDataset
from training.datasets.layouts.layout import Layout, find_root
from training.datasets.records import Listing, Record

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
CLASSES = tuple(folder[3:].lower() for folder in FOLDERS)
SLIDE = re.compile(r"_(CRC-.+?)(?:_\d+)?\.tif_Row_", re.IGNORECASE)


def find(path: Path) -> Path | None:
    """The folder at or below `path` with the eight class folders."""
    return find_root(path, lambda folder: all((folder / name).is_dir() for name in FOLDERS))


def read(root: Path, *, by_slide: bool) -> Listing:
    """The listing of `root`. Raises BadDataset if `by_slide` and a file name does not contain its
    slide.
    """
    records = tuple(
        Record(path, label, _slide(path))
        for label, name in enumerate(FOLDERS)
        for path in images_below(root / name)
    )
    nameless = next((each.path for each in records if each.group is None), None)
    if by_slide and nameless is not None:
        raise BadDataset(
            nameless,
            "the file name does not contain its slide; expected ..._CRC-Prim-HE-03_009.tif_Row_...",
        )
    layout = "kather-slides" if by_slide else "kather"
    return Listing(
        "kather-5000", layout, root, CLASSES, records, published=True, split_by_group=by_slide
    )


def _slide(path: Path) -> str | None:
    found = SLIDE.search(path.name)
    return found[1] if found else None


KATHER = Layout(
    "kather", "[NAME/[NAME/]]{01_TUMOR..08_EMPTY}/*.tif", find, partial(read, by_slide=False)
)
KATHER_SLIDES = Layout("kather-slides", KATHER.tree, find, partial(read, by_slide=True))
