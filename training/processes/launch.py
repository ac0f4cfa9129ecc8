"""Several processes for one run, started by torchrun (`torch.distributed.run`) on one or several
machines.

On a Ray cluster, `ray_workers` starts them instead.

Every process runs the same command line and reads its rank from the environment; the first one
writes.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from torch import distributed

from training.errors import ProcessFailed
from training.processes.interfaces import interface_towards


@dataclass(frozen=True)
class Processes:
    """`nproc` processes on each of `nnodes` machines; this machine has number `node_rank`, from 0.

    `master` is HOST:PORT on machine 0, which all machines must reach; a single machine needs none.
    """

    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    master: str | None = None

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.nproc * self.nnodes > 1


def already_started() -> bool:
    """Whether torchrun or Ray Train started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or distributed.is_initialized()


def launch(module: str, arguments: Sequence[str], processes: Processes) -> None:
    """Run `python -m module arguments` in all `processes` of this machine and wait for their end.

    Raises ProcessFailed; the failed process has printed its own error on stderr.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Otherwise torchrun sets one thread and warns; it recommends a share of the cores for each
    # process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes.nproc)))
    where = [f"--nnodes={processes.nnodes}", f"--node-rank={processes.node_rank}"]
    if processes.master is None:
        where = ["--standalone"]
    else:
        host, _, port = processes.master.rpartition(":")
        where += [f"--master-addr={host}", f"--master-port={port}"]
        interface = interface_towards(host)
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    started = run.parse_args([*where, f"--nproc-per-node={processes.nproc}", "-m", module])
    started.training_script_args = [
        *arguments
    ]  # not parsed: torchrun would take some for abbreviations of its own options
    sys.stdout.flush()
    try:
        run.run(started)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise ProcessFailed(rank=rank, exit_code=failure.exitcode) from error
