"""Several processes for one run, started by Ray Train on the nodes of a cluster.

Every process runs the same command line, as under torchrun, and in the same folder: nodes share a
disk, or have the data at the same path. Ray Train connects the processes, and starts all of them
again if a node is lost; a run that is found in its folder is continued there after its last whole
epoch.
"""

import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.errors import RayFailed, RayMissing, RayUnreachable

RESTARTS: Final = 3
SILENT: Final = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray sends its makers nothing


def launch_on_ray(
    module: str, arguments: Sequence[str], *, workers: int, on_gpu: bool = False
) -> None:
    """Run `python -m module arguments` in so many processes of a Ray cluster and wait for their
    end.

    The cluster is the one that RAY_ADDRESS names, else the one that `ray start` began on this
    machine, else a new one. Raises RayMissing, RayUnreachable, or RayFailed after RESTARTS.
    """
    os.environ.update({name: value for name, value in SILENT.items() if name not in os.environ})
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ModuleNotFoundError as error:
        raise RayMissing(str(error)) from error
    try:
        ray.init(logging_level="warning", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise RayUnreachable(str(error)) from error
    work = {"module": module, "arguments": list(arguments), "folder": str(Path.cwd())}
    try:
        with tempfile.TemporaryDirectory(prefix="candor-ray-") as storage:  # of Ray's own records
            run = RunConfig(
                storage_path=storage, failure_config=FailureConfig(max_failures=RESTARTS)
            )
            scale = ScalingConfig(num_workers=workers, use_gpu=on_gpu, placement_strategy="SPREAD")
            TorchTrainer(
                run_module, train_loop_config=work, scaling_config=scale, run_config=run
            ).fit()
    except ray.train.TrainingFailedError as error:
        raise RayFailed(str(error).strip().splitlines()[-1]) from error
    finally:
        ray.shutdown()


def run_module(work: dict[str, Any]) -> None:
    """What each process does: the command line, in the folder where it was typed."""
    os.chdir(work["folder"])
    sys.argv = [work["module"], *work["arguments"]]
    try:
        runpy.run_module(work["module"], run_name="__main__")
    except SystemExit as end:
        if end.code not in (0, None):
            raise RuntimeError(f"the process ended with {end.code}") from end
