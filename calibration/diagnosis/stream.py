"""CellWeights as the scan reads them: in order, with weights, blocks of time and keys."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS, Answers, BoolArray, blocks_of
from calibration.diagnosis.evidence import (
    CELLS,
    CellWeights,
    histogram,
    in_cells,
    log_e_values,
    logit,
)
from calibration.diagnosis.groups import Key, keys_of


@dataclass(frozen=True)
class Stream:
    """n labels in the order in which their answers were served.

    Attributes:
        z: (n,) logits of what P(right) is supposed to be: of the confidence, or of a correction.
        right: (n,) bool.
        weight: (n,) what each label is worth beside those of the same patient, in [0, 1].
        block: (n,) its block of time.
        keys: how the answers can be told apart.
    """

    z: FloatArray
    right: BoolArray
    weight: FloatArray
    block: IntArray
    keys: Mapping[str, Key]

    @classmethod
    def of(cls, answers: Answers) -> "Stream":
        """The stream of labeled answers, each worth 1."""
        n = len(answers)
        right, keys = answers.correct == 1, keys_of(answers)
        return cls(logit(answers.confidence), right, np.ones(n), blocks_of(n), keys)

    def supposing(self, z: FloatArray) -> "Stream":
        """The same labels under other logits (n,) of P(right)."""
        return replace(self, z=z)

    def weighing(self, weight: FloatArray) -> "Stream":
        """The same labels with other weights (n,)."""
        return replace(self, weight=weight)

    def only(self, chosen: BoolArray) -> "Stream":
        """Some of the labels (n,), each in its block."""
        rows = np.flatnonzero(chosen)
        keys = {name: replace(key, codes=key.codes[rows]) for name, key in self.keys.items()}
        return Stream(self.z[rows], self.right[rows], self.weight[rows], self.block[rows], keys)

    def evidence(self, key: Key) -> FloatArray:
        """Log e (values, BLOCKS, alternatives) of each value of a key in each block."""
        count, table = len(key.names), log_e_values(tolerant=True)
        codes = np.where(key.codes < 0, count, key.codes)
        found = np.empty((count, BLOCKS, table.shape[1]))
        ends = np.searchsorted(self.block, np.arange(BLOCKS + 1))
        for block in range(BLOCKS):  # histograms of one fit into the cache
            rows = slice(ends[block], ends[block + 1])
            part = CellWeights._make(each[rows] for each in self.cells)
            sums = histogram(codes[rows], count + 1, part)[:count, None]
            # a product for each value: one for all would start threads, which costs more
            found[:, block] = (sums @ table)[:, 0]
        return found

    @cached_property
    def cells(self) -> CellWeights:
        return in_cells(self.z, self.right, self.weight)

    def counts(self, codes: IntArray, count: int) -> FloatArray:
        """Histograms (count, BLOCKS, CELLS) of the labels of each code in each block."""
        cells = codes * BLOCKS + self.block
        sums = histogram(cells, count * BLOCKS, self.cells)
        return sums.reshape(count, BLOCKS, CELLS)
