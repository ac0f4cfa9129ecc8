"""Layouts of labeled images on disk, one file per layout; detection tries the most specific first.

To add a layout, write one file with a `Layout` and add one line here.
"""

from training.datasets.layouts.ddsm import DDSM
from training.datasets.layouts.folder import FOLDER
from training.datasets.layouts.kather import KATHER, KATHER_SLIDES
from training.datasets.layouts.layout import Layout
from training.datasets.layouts.mendeley import MENDELEY
from training.datasets.layouts.rsna import RSNA
from training.datasets.layouts.table import CSV

LAYOUTS: dict[str, Layout] = {
    each.name: each for each in (CSV, RSNA, DDSM, KATHER, KATHER_SLIDES, MENDELEY, FOLDER)
}

__all__ = ["LAYOUTS", "Layout"]
