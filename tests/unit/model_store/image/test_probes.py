"""Probe images: their file, and what counts as a difference."""

import json

import numpy as np
import pytest

from model_store.image.probes import GRID, Probes, ProbesInvalid, enlarged

GRIDS = np.random.default_rng(0).integers(0, 256, (2, 3, GRID, GRID)).astype(np.uint8)
PROBES = Probes(GRIDS, np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_the_file_says_what_was_written() -> None:
    read = Probes.from_json(PROBES.as_json(), channels=3, outputs=2)
    assert (read.grids == GRIDS).all()
    assert (read.probabilities == PROBES.probabilities).all()


def test_what_is_no_file_of_probes_is_refused() -> None:
    for change in [
        {"format_version": 2},
        {"grids": ["AAAA"]},
        {"grids": "no list"},
        {"probabilities": [[0.5]]},
        {"probabilities": {"a": [[0.5]]}},
    ]:
        changed = json.dumps(json.loads(PROBES.as_json()) | change).encode()
        for data in (changed, b"no JSON", b"[]", b"[" * 100_000):
            with pytest.raises(ProbesInvalid):
                Probes.from_json(data, channels=3, outputs=2)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (17, 100)])
def test_each_value_becomes_a_block_of_the_input(size: tuple[int, int]) -> None:
    inputs = enlarged(GRIDS, *size)
    assert inputs.shape == (2, 3, *size)
    assert (inputs[:, :, 0, 0] == GRIDS[:, :, 0, 0]).all()
    rows, columns = (np.arange(side) // -(-side // GRID) for side in size)
    assert (inputs == GRIDS[:, :, rows][:, :, :, columns]).all()


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ([[0.25, 0.75], [0.4, 0.6]], 0.1),
        ([[0.25, np.nan], [0.5, 0.5]], 1.0),
        ([[0.25, 0.75]], 1.0),
    ],
)
def test_the_largest_difference_counts(found: list[list[float]], difference: float) -> None:
    answers = PROBES.difference(lambda _: np.array(found), height=8, width=8)
    assert answers == pytest.approx(difference)
