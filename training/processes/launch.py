"""Several processes for one run, started by torchrun (`torch.distributed.run`) on one or several
machines.

On a Ray cluster, `ray_workers` starts them instead.

Every process runs the same command line and reads its rank from the environment; the first one
writes.

On CPUs the processes connect at the address by which a machine reaches the first one.
"""

import os
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import distributed

from training.errors import ProcessFailed

SIOCGIFADDR: Final = 0x8915  # Linux: the IPv4 address of an interface
NAME_BYTES: Final = 16
ANY_PORT: Final = 9


def interface_towards(host: str) -> str | None:
    """The name of the interface with the address that this machine uses to reach `host`; None if it
    is not found.

    >>> interface_towards("127.0.0.1") in ("lo", None)
    True
    """
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, ANY_PORT))  # sends nothing
            own = probe.getsockname()[0]
            return next(
                (name for _, name in socket.if_nameindex() if _address(probe, name) == own), None
            )
    except OSError:
        return None


def _address(probe: socket.socket, name: str) -> str | None:
    """The IPv4 address of an interface."""
    import fcntl

    request = struct.pack(f"{NAME_BYTES}s24x", name.encode())
    try:
        answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
    except OSError:  # it has none
        return None
    return socket.inet_ntoa(answer[20:24])


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
    # Not parsed: torchrun would take some for abbreviations of its own options.
    started.training_script_args = [*arguments]
    sys.stdout.flush()
    try:
        run.run(started)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise ProcessFailed(rank=rank, exit_code=failure.exitcode) from error
