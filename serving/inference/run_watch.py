"""Bounds of every run of a model: its time, and the memory of all runs on the CPU together.

ONNX Runtime ends a run between two operators, also inside a loop, when its options say so. It
cannot end a single operator. What such an operator may allocate is bounded: all sessions share one
arena, which refuses more than its size.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper

from model_store.installation import usable_cores
from model_store.runtime import ort

LOOK_S: Final = 0.5
TIMES_USUAL: Final = 50.0  # beside 16 busy processes a core, a batch takes 25 times as long
LEAST_S: Final = {True: 10.0, False: 600.0}  # on the CPU; an accelerator compiles for each shape
LOADING_S: Final = {True: 60.0, False: 600.0}  # before the usual time is known
OUT_OF_MEMORY: Final = "BFCArena"  # in ONNX Runtime's error


@dataclass(eq=False, slots=True)
class Run:
    """A run that goes on. `overdue` is called once, in the watch's thread."""

    limit_s: float
    overdue: Callable[[], None]
    options: Any = field(default_factory=ort.RunOptions)
    looks: int = 0


class RunWatch:
    """A thread that looks at all runs, and ends those past their limit.

    It counts its looks, not the time: in a process that was stopped and goes on, nothing is late.
    """

    def __init__(self) -> None:
        self._runs: set[Run] = set()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # two threads would count each look twice
        self._never = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether any run goes on."""
        return bool(self._runs)

    @contextmanager
    def run(self, limit_s: float, overdue: Callable[[], None]) -> Iterator[Any]:
        """Watch a run of a session with the options that this gives."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._follow, name="candor-runs", daemon=True
                )
                self._thread.start()
        run = Run(limit_s, overdue)
        self._runs.add(run)
        try:
            yield run.options
        finally:
            self._runs.discard(run)

    def _follow(self) -> None:
        while not self._never.wait(LOOK_S):
            for run in tuple(self._runs):
                run.looks += 1
                if run.looks * LOOK_S > run.limit_s and not run.options.terminate:
                    run.options.terminate = True
                    run.overdue()


class InferenceMemory:
    """The arena of all sessions on the CPU of a process, once `limit` was called."""

    def __init__(self) -> None:
        self.limit_bytes = 0
        self._nothing: Any = None  # a session that does nothing, and returns memory after it

    def limit(self, limit_bytes: int) -> None:
        """Share one arena of this size from now on. A process has one, so only the first counts."""
        if self.limit_bytes:
            return
        kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        memory = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": limit_bytes}))
        self.limit_bytes = limit_bytes
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "nothing", [value], [])
        graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.share(options)
        self._nothing = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def share(self, options: ort.SessionOptions) -> None:
        """Let a session use the arena, but not for its weights, which end with it."""
        if self.limit_bytes:
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")

    def return_unused(self) -> None:
        """Return what no run uses to the system, after a version has ended."""
        if self.limit_bytes:
            options = ort.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            self._nothing.run(None, {"x": np.zeros(1, np.float32)}, options)


RUNS: Final = RunWatch()
MEMORY: Final = InferenceMemory()

SPIN_US: Final = "200"  # older versions of ONNX Runtime ignore the option


def session_options(threads: int) -> ort.SessionOptions:
    """Session options, chosen by measurement: all cores work on one batch, and its threads wait for
    each other briefly.

    Within a batch they spin for up to SPIN_US. Waiting longer would take the cores from the
    decoding processes, not waiting at all would wake a thread up for each layer. After the batch
    they stop.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    MEMORY.share(options)
    return options
