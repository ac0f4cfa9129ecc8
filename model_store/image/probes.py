"""Probe images: a few made-up inputs that travel with a bundle, and what the network said of them.

Networks do not compute the same everywhere: a quantized graph, say, overflows on processors without
VNNI. So whoever loads a graph repeats the probes and compares. They are made of random blocks, no
patient's image travels.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

PROBE_FILE: Final = "probes.json"
FORMAT_VERSION: Final = 1
GRID: Final = 16  # rows and columns of a probe before it is enlarged
# Of a probability. Threads, batches and processors change float32 by about 1e-6; integer kernels
# that overflow change it by .05 and more (docs/bundle.md). The drift watch, too, lets a confidence
# of 80 % be off by one point.
TOLERANCE: Final = 0.01
Images: TypeAlias = npt.NDArray[np.uint8]
# Probabilities (n, K) of images (n, C, H, W).
Run: TypeAlias = Callable[[Images], npt.NDArray[Any]]


class ProbesInvalid(ValueError):
    """The bytes are no probes that this Candor reads."""


@dataclass(frozen=True)
class Probes:
    """Probe images, uint8 (n, C, GRID, GRID), and the network's probabilities, float64 (n, K).

    Each value of a grid becomes a block of the input.
    """

    grids: Images
    probabilities: npt.NDArray[np.float64]

    def images(self, height: int, width: int) -> Images:
        """The inputs, uint8 (n, C, height, width)."""
        return enlarged(self.grids, height, width)

    def difference(self, run: Run, *, height: int, width: int) -> float:
        """The largest difference of a probability, which `run` computes here; 1 for no number.

        Raises what `run` raises.
        """
        expected, found = self.probabilities, run(self.images(height, width))
        if found.shape != expected.shape or not np.isfinite(found).all():
            return 1.0
        return float(np.abs(found - expected).max())

    def as_json(self) -> bytes:
        """The content of PROBE_FILE; probabilities have five decimals."""
        rows = np.round(self.probabilities, 5).tolist()
        grids = [base64.b64encode(grid.tobytes()).decode() for grid in self.grids]
        fields = {"format_version": FORMAT_VERSION, "grids": grids, "probabilities": rows}
        return (json.dumps(fields, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, *, channels: int, outputs: int) -> "Probes":
        """Read PROBE_FILE, of a network with `outputs` probabilities. Raises ProbesInvalid."""
        try:
            fields = json.loads(data)
            if fields["format_version"] != FORMAT_VERSION:
                raise ProbesInvalid(f"this Candor reads format version {FORMAT_VERSION}")
            encoded = b"".join(base64.b64decode(each, validate=True) for each in fields["grids"])
            grids = np.frombuffer(encoded, np.uint8).reshape(-1, channels, GRID, GRID)
            shape = (len(fields["grids"]), outputs)
            rows = np.asarray(fields["probabilities"], np.float64).reshape(shape)
        except ProbesInvalid:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ProbesInvalid(str(error)) from error
        return cls(grids, rows)


def enlarged(grids: Images, height: int, width: int) -> Images:
    """Grids (n, C, G, G) as inputs (n, C, height, width): each value becomes a block."""
    down, across = -(-height // grids.shape[2]), -(-width // grids.shape[3])
    blocks = grids.repeat(down, axis=2).repeat(across, axis=3)
    return np.ascontiguousarray(blocks[:, :, :height, :width])


def differs_sentence(difference: float) -> str:
    """Say that the network computes otherwise here."""
    return (
        f"on this machine its probabilities differ by {difference:.2g} from those that were "
        f"computed where it was published (at most {TOLERANCE:g} is allowed): its calibration does "
        "not hold here"
    )
