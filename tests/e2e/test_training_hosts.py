"""torchrun on two hosts with addresses of their own: loss and gradient of one process, and a whole
run.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.builders.hosts import Host, Hosts
from tests.integration.training.test_processes import outcomes
from training.processes.distributed import Group

pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [2])]
WORKER = """
import sys
from pathlib import Path
import numpy as np
import torch
from tests.integration.training.test_processes import outcomes
from training.processes.distributed import Group
torch.set_num_threads(1)
group = Group.from_environment()
np.savez(Path(sys.argv[1]) / f"{group.rank}.npz", **outcomes(group, micro_batch=3))
group.close()
"""
TRAIN = ["candor", "train", "digits", "--epochs", "1"]


def both(
    hosts: Sequence[Host], module: Sequence[str], environment: dict[str, str], *options: str
) -> None:
    """Run a module on both hosts, with each one's own options, and wait for the end."""
    where = ["--master", f"{hosts[0].address}:29500"] if "candor" in module else []
    started = []
    for rank, host in enumerate(hosts):
        command = [
            sys.executable,
            "-m",
            *module,
            *(each.format(rank=rank) for each in options),
            *where,
        ]
        started.append(
            host.popen(
                command, environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        )
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(
        each[-3000:] for each in errors
    )


def test_two_hosts_do_what_one_process_does(network: Hosts, tmp_path: Path) -> None:
    hosts = network.hosts
    (tmp_path / "worker.py").write_text(WORKER)
    run = [
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        f"--master-addr={hosts[0].address}",
    ]
    both(
        hosts,
        [*run, "--master-port=29500"],
        {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"},
        "--node-rank={rank}",
        str(tmp_path / "worker.py"),
        str(tmp_path),
    )
    expected = outcomes(Group())
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        for case, value in expected.items():
            if case == "norm: variance":  # within shards, so not that of the whole
                continue
            limit = 1e-5 if "float32" in case else 1e-6
            np.testing.assert_allclose(found[case], value, rtol=limit, atol=limit, err_msg=case)


def test_the_command_line_on_two_hosts_measures_what_one_machine_does(
    network: Hosts, tmp_path: Path
) -> None:
    hosts = network.hosts
    environment = {"OMP_NUM_THREADS": "1"}
    out = tmp_path / "two"
    both(hosts, TRAIN, environment, "--out", str(out), "--nnodes", "2", "--node-rank", "{rank}")
    alone = tmp_path / "one"
    hosts[0].run([sys.executable, "-m", *TRAIN, "--nproc", "2", "--out", str(alone)], environment)
    assert (out / "metrics.json").read_text() == (alone / "metrics.json").read_text()
