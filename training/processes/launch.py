"""Several processes for one run, by torchrun.

On several machines torchrun itself starts them. Every process runs the same command line and reads
its rank from the environment; the first one writes.
"""

import os
import sys
from collections.abc import Sequence

from training.errors import ProcessFailed


def already_started() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(module: str, arguments: Sequence[str], *, processes: int) -> None:
    """Run `python -m module arguments` in so many processes and wait for their end.

    Raises ProcessFailed; the failed process has printed its own error on stderr.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Otherwise torchrun sets one thread and warns; it recommends a share of the cores for each
    # process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    started = run.parse_args(["--standalone", f"--nproc-per-node={processes}", "-m", module])
    # Not parsed: torchrun would take some for abbreviations of its own options.
    started.training_script_args = [*arguments]
    sys.stdout.flush()
    try:
        run.run(started)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise ProcessFailed(rank=rank, exit_code=failure.exitcode) from error
