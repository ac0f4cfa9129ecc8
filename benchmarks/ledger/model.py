"""The two-class model whose answers fill the ledgers of the benchmarks; its reference is perfectly
calibrated.
"""

import numpy as np

from calibration.bins import BinSums
from monitoring.logged.declaration import LoggedCard

CLASSES = ("normal", "pneumonia")
MODEL = LoggedCard(
    model="pneumonia",
    version=1,
    classes=CLASSES,
    reference=BinSums.from_predictions(np.full(100, 0.75), np.arange(100) < 75),
)
