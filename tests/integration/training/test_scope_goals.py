"""What the scope check promises and finds, on real images."""

import os
from pathlib import Path

import pytest

from benchmarks.training.scope import (
    DEFAULT,
    SUBJECTS,
    flagged,
    groups_of,
    measures_of_the_rest,
    read_rows,
    shares_of_splits,
    within,
    write_features,
)

DATA = os.environ.get("CANDOR_DATA")


@pytest.mark.nightly
@pytest.mark.skipif(not DATA, reason="needs the folder CANDOR_DATA")
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_promise_is_kept_and_other_images_are_flagged(tmp_path: Path, name: str) -> None:
    write_features(name, Path(DATA or ""), tmp_path)
    rows = read_rows(tmp_path / f"{name}.npz")
    found = groups_of(flagged(rows)[DEFAULT][-1])
    assert found["far"] >= 0.95
    assert found["near"] >= 0.6
    assert sum(within(*each) for each in shares_of_splits(rows)) >= 17
    everything, rest = measures_of_the_rest(rows)
    assert rest.accuracy > everything.accuracy - 0.02
    assert rest.ece < everything.ece + 0.02
