"""Cells of labels mean the same in `train`, `import` and `calibrate`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candor.predictions.labeled import LabeledFindings
from candor.predictions.reading import read_predictions
from model_store.foreign.labeled_folder import read_labeled_table
from training.datasets import load_dataset
from training.datasets.errors import BadDataset

CELLS = ["1", "0", "n/a", "positive", "negative", "NaN", "present", "absent", "-1", "uncertain", ""]
KNOWN = [1, 0, np.nan, 1, 0, np.nan, 1, 0, np.nan, np.nan, np.nan]


def table(folder: Path, *, label: str = "") -> Path:
    """A row for each cell of the finding Edema, in several turns; Mass is known of all; No Finding,
    as in CheXpert, is 1 or blank; or `label` in place of one class of two.
    """
    rng = np.random.default_rng(0)
    header = "path,label" if label else "path,Edema,Mass,No Finding,p_Edema,p_Mass"
    rows = [header]
    for n in range(66):
        name, cell, mass = f"{n:03}.png", CELLS[n % len(CELLS)], n % 3 == 0
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        none = "1" if cell == "0" and not mass else ""
        classes = f"{name},{(label, 'ill', 'well')[n % 3]}"
        rows.append(classes if label else f"{name},{cell},{int(mass)},{none},0.{n % 7 + 1},0.4")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_a_cell_means_the_same_to_three_rooms(tmp_path: Path) -> None:
    file = table(tmp_path)
    calibrated = read_predictions(file)
    assert isinstance(calibrated, LabeledFindings)
    imported, trained = read_labeled_table(file), load_dataset(file)
    assert calibrated.names == imported.names == tuple(trained.classes) == ("Edema", "Mass")
    np.testing.assert_array_equal(calibrated.labels[:, 0], KNOWN * 6)
    np.testing.assert_array_equal(imported.cells, calibrated.labels)
    counts = [each.labels for each in trained.splits.values()]
    assert np.nansum(np.concatenate(counts)) == np.nansum(calibrated.labels)


def test_a_missing_label_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="no label, but 'n/a'"):
        load_dataset(table(tmp_path, label="n/a"))
