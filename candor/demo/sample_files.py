"""Makes the files of `candor/demo/sample/`: `python -m candor.demo.sample_files`, with torch."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from candor.demo.sample import CARD, GRAPH, IMAGES, MODEL
from model_store.store.store import Store
from training.datasets.digits import digit_levels, read_digits
from training.runs.config import offline_config
from training.runs.export import export
from training.runs.run import train


def write_sample(folder: Path, *, work: Path) -> None:
    """Train on the digits' training split, export, and keep the images of the other splits."""
    # half of the file
    config = offline_config(loss="dca", seed=0).model_copy(update={"head_reduction": 4})
    run = train(config, read_digits(), work / "run", cache=work)
    store = Store(work / "store")
    made = store.folder(MODEL, export(run.folder, store, MODEL).version)
    for name in (GRAPH, CARD):
        shutil.copyfile(made / name, folder / name)
    parts = digit_levels()
    levels, labels = (
        np.concatenate([parts[split][each] for split in ("val", "test")]) for each in (0, 1)
    )
    np.savez_compressed(
        folder / IMAGES, pixels=levels.astype(np.uint8), labels=labels.astype(np.uint8)
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        write_sample(Path(__file__).parent / "sample", work=Path(work))
