"""`candor train` on two hosts with addresses of their own measures what one machine does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.hosts import Hosts
from tests.builders.processes import CANDOR

pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [2])]
TRAIN = [*CANDOR, "train", "digits", "--epochs", "1"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}


def test_two_hosts_measure_what_one_machine_does(network: Hosts, tmp_path: Path) -> None:
    first, two, alone = network.hosts[0], tmp_path / "two", tmp_path / "one"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
    torchrun += [f"--master-addr={first.address}", "--master-port=29500"]
    command = ["-m", "candor", *TRAIN[len(CANDOR) :], "--out", str(two)]
    started = [
        host.popen(
            [*torchrun, f"--node-rank={rank}", *command],
            ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, host in enumerate(network.hosts)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    first.run([*TRAIN, "--nproc", "2", "--out", str(alone)], ENVIRONMENT)
    assert (two / "metrics.json").read_text() == (alone / "metrics.json").read_text()
