"""What the scope check promises and finds, on real images."""

import os
from pathlib import Path

import pytest

from benchmarks.training.scope import (
    DEFAULT,
    flagged,
    groups_of,
    read_rows,
    shares_of_splits,
    within,
    write_features,
)

DATA = os.environ.get("CANDOR_DATA")
NAMES = ("lite0 brain", "lite0 cells", "resnet18 chest", "small_conv pneumonia")


@pytest.mark.nightly
@pytest.mark.skipif(not DATA, reason="needs the folder CANDOR_DATA")
@pytest.mark.parametrize("name", NAMES)
def test_the_promise_is_kept_and_other_images_are_flagged(tmp_path: Path, name: str) -> None:
    write_features(name, Path(DATA or ""), tmp_path)
    rows = read_rows(tmp_path / f"{name}.npz")
    found = groups_of(flagged(rows)[DEFAULT][-1])
    assert found["far"] >= 0.95
    assert found["near"] >= 0.6
    assert sum(within(*each) for each in shares_of_splits(rows)) >= 17
