"""Ray Train on two nodes computes what one process does, also by the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from tests.builders.finding_sets import write_npz
from tests.builders.processes import candor
from tests.builders.ray_cluster import RayNodes
from tests.integration.training.test_processes import outcomes
from training.processes.distributed import Group

pytestmark = pytest.mark.nightly
WORKER = """
import sys
from pathlib import Path
import numpy as np
import ray
import torch
from tests.integration.training.test_processes import outcomes
from training.processes.distributed import Group
torch.set_num_threads(1)
group = Group.from_environment()
node = ray.get_runtime_context().get_node_id()
np.savez(Path(sys.argv[1]) / f"{group.rank}.npz", node=np.array(node), **outcomes(group, micro_batch=3))
group.close()
"""
LAUNCH = "from training.processes.launch import launch_on_ray; import sys; "
LAUNCH += "launch_on_ray('ray_worker', sys.argv[1:], workers=2)"


def test_workers_on_two_nodes_do_what_one_process_does(tmp_path: Path) -> None:
    (tmp_path / "ray_worker.py").write_text(WORKER)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    with RayNodes(0, 1, 1, environment={"PYTHONPATH": path}) as nodes:
        environment = os.environ | {"RAY_ADDRESS": nodes.address, "PYTHONPATH": path}
        call = [sys.executable, "-c", LAUNCH, str(tmp_path)]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    require_exact(tmp_path)


def require_exact(folder: Path) -> None:
    """Two nodes left in `folder` what one process computes."""
    expected = outcomes(Group())
    found = [np.load(folder / f"{rank}.npz") for rank in range(2)]
    assert len({str(each["node"]) for each in found}) == 2
    for each in found:
        for case, value in expected.items():
            if case == "norm: variance":  # within shards, so not that of the whole
                continue
            limit = 1e-5 if "float32" in case else 1e-6
            np.testing.assert_allclose(each[case], value, rtol=limit, atol=limit, err_msg=case)


@pytest.mark.parametrize("kind", ["classes", "findings"])
def test_the_command_line_trains_on_a_cluster_as_torchrun_does(tmp_path: Path, kind: str) -> None:
    data = ["digits"]
    if kind == "findings":
        write_npz(tmp_path / "four.npz", 600, blanks=0.2)
        data = [str(tmp_path / "four.npz"), "--backbone", "small_conv", "--weights", "none"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with RayNodes(0, 1, 1) as nodes:
        on_ray = trained(
            data,
            tmp_path / "ray",
            ["--engine", "ray"],
            environment | {"RAY_ADDRESS": nodes.address},
        )
    assert on_ray == trained(data, tmp_path / "torchrun", [], environment)


def trained(data: list[str], out: Path, engine: list[str], variables: dict[str, str]) -> str:
    """The measures of a run by two processes."""
    done = candor("train", *data, "--epochs", 1, "--nproc", 2, "--out", out, *engine, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len((out / "history.csv").read_text().splitlines()) == 2
    return (out / "metrics.json").read_text()
