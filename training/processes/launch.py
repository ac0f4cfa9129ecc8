"""Several processes for one run: torchrun's on this machine, or Ray Train's on a cluster's nodes.

On several machines torchrun itself starts them. Every process runs the same command line and reads
its rank from the environment; the first one writes. Under Ray they run in the same folder: nodes
share a disk, or have the data at the same path. Ray Train connects the processes, and starts all of
them again if a node is lost; a run that is found in its folder is continued there after its last
whole epoch.
"""

import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from torch import distributed

from training.errors import ProcessFailed, RayFailed, RayMissing, RayUnreachable

RESTARTS: Final = 3
SILENT: Final = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray sends its makers nothing


def already_started() -> bool:
    """Whether torchrun or Ray Train started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or distributed.is_initialized()


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
