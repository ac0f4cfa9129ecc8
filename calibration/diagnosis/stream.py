"""The labels of a diagnosis as a stream: what every hypothesis is judged on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.evidence import CELLS, histogram, log_e_values, logit
from calibration.diagnosis.groups import Key, keys_of
from calibration.diagnosis.windows import BLOCKS, blocks_of


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

    def evidence(self, key: Key) -> FloatArray:
        """Log e (values, BLOCKS, alternatives) of each value of a key in each block."""
        count = len(key.names)
        sums = self.counts(np.where(key.codes < 0, count, key.codes), count + 1)[:count]
        # a product for each value: all in one would start threads, which cost more than they save
        return np.asarray(sums @ log_e_values(tolerant=True))

    def counts(self, codes: IntArray, count: int) -> FloatArray:
        """Histograms (count, BLOCKS, CELLS) of the labels of each code in each block."""
        cells = codes * BLOCKS + self.block
        sums = histogram(cells, count * BLOCKS, self.z, self.right, self.weight)
        return sums.reshape(count, BLOCKS, CELLS)
