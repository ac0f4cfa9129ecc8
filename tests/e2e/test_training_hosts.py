"""`candor train` on two hosts with addresses of their own measures what one machine does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.hosts import Hosts

pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [2])]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}


def test_two_hosts_measure_what_one_machine_does(network: Hosts, tmp_path: Path) -> None:
    first, two, alone = network.hosts[0], tmp_path / "two", tmp_path / "one"
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    there = ["--nnodes=2", f"--master-addr={first.address}", "--master-port=29500"]
    command = ["-m", "candor", "train", "digits", "--epochs", "1", "--out"]
    started = [
        host.popen(
            [*torchrun, *there, f"--node-rank={rank}", *command, str(two)],
            ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, host in enumerate(network.hosts)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    here = ["--standalone", "--nproc-per-node=2"]
    first.run([*torchrun, *here, *command, str(alone)], ENVIRONMENT)
    assert (two / "metrics.json").read_text() == (alone / "metrics.json").read_text()
