"""Foreign graphs in a process of its own, with limits on memory and time.

A graph may contain loops, and ask for any amount of memory. ONNX Runtime has no limits for either,
and a crash in it would end the caller. So nothing of a foreign file runs in the calling process.
The other process has no environment and no rights (model_store/confinement.py).
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from model_store import kernel
from model_store.confinement import bare_environment, close_pipes
from model_store.errors import ForeignModelRefused
from model_store.foreign.sandbox_worker import read_message, write_message
from model_store.image.probes import Run
from model_store.installation import usable_cores

_START: Final = (
    "import importlib, json, sys; sys.path[:], worker, *limits = json.loads(sys.argv[1]); "
    "importlib.import_module(worker).main(*limits)"
)
TIMES_FILE = 12  # a graph is loaded up to three times, and copied while it is optimized
SECONDS = 180.0

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """An input as ONNX Runtime describes it; a dimension is a number, a name, or None."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class WorkerProgram:
    """What a sandbox runs: a module with `main(memory_bytes, threads, pipe)`, and its runtime.

    `base_bytes`: the address space of Python, the runtime and one batch.
    """

    module: str
    runtime: str
    base_bytes: int


ONNX_RUNTIME: Final = WorkerProgram(
    "model_store.foreign.sandbox_worker", "ONNX Runtime", base_bytes=4 * 2**30
)


@dataclass(frozen=True)
class SandboxSession:
    """One graph that is loaded in a sandbox."""

    sandbox: "Sandbox"
    number: int
    inputs: tuple[TensorSpec, ...]

    def run(self, arrays: dict[str, Array], outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the numeric outputs by name. Raises ForeignModelRefused."""
        asked = {"do": "run", "session": self.number, "outputs": list(outputs)}
        given = {f"x:{name}": array for name, array in arrays.items()}
        answer, values = self.sandbox.ask(asked, given)
        return {answer["outputs"][int(key[2:])]: array for key, array in values.items()}

    def unload(self) -> None:
        """Free the memory of the graph."""
        self.sandbox.ask({"do": "unload", "session": self.number}, {})


class Sandbox:
    """A process with limits in which graphs are loaded and run. Use it as a context manager.

    Methods raise ForeignModelRefused if a graph fails or exceeds the limits. After the latter the
    process is gone.
    """

    def __init__(
        self,
        model_bytes: int,
        *,
        memory_bytes: int | None = None,
        seconds: float = SECONDS,
        worker: WorkerProgram = ONNX_RUNTIME,
    ) -> None:
        """`model_bytes`: size of the foreign graph, on which the limit of memory depends."""
        self._seconds, self._runtime = seconds, worker.runtime
        self._limit = memory_bytes or worker.base_bytes + TIMES_FILE * model_bytes
        self._timed_out, self._loaded = False, 0
        self._watch = None if kernel.ENFORCES else kernel.ChildWatch()
        pipes = [] if self._watch is None else [self._watch.child_end]
        pipe = self._watch and self._watch.child_end
        given = json.dumps([sys.path, worker.module, self._limit, usable_cores(), pipe])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, given],
            env=bare_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=pipes,
        )
        if self._watch is not None:
            self._watch.follow(self._process)
            self._watch.limit(self._limit)

    def load(self, model: bytes) -> SandboxSession:
        """Load a graph with ONNX Runtime."""
        answer, _ = self.ask({"do": "load"}, {"model": np.frombuffer(model, np.uint8)})
        self._loaded += 1
        inputs = tuple(
            TensorSpec(each["name"], each["type"], tuple(each["shape"]))
            for each in answer["inputs"]
        )
        return SandboxSession(self, self._loaded - 1, inputs)

    def prepared(self, graph: bytes) -> Run:
        """A graph of Candor's contract, ready to run."""
        session = self.load(graph)
        return lambda images: session.run({"image": images})["probabilities"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if self._watch is not None:
            self._watch.close()
        close_pipes(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, asked: dict[str, Any], arrays: dict[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Send a message to the worker and return its answer."""
        timer = threading.Timer(self._seconds, self._expire)
        timer.start()
        try:
            answer = self._exchange(asked, arrays)
        finally:
            timer.cancel()
        if answer is None:
            raise ForeignModelRefused(self._death())
        said = answer.pop("json")
        if "error" in said:
            raise ForeignModelRefused(
                f"{self._runtime} cannot run the model: {_first_line(said['error'])}"
                f"{_remedy(said['error'])}"
            )
        return said, answer

    def _exchange(self, asked: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Any] | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the sandbox is closed")
        try:
            write_message(stdin, asked, arrays)
            return read_message(stdout)
        except (BrokenPipeError, EOFError, ValueError, OSError):
            return None

    def _expire(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _death(self) -> str:
        if self._timed_out:
            return (
                f"the model did not finish within {self._seconds:g} s on a few images: it is no "
                "model to serve"
            )
        return (
            f"the model crashed {self._runtime}, or took over {self._limit / 2**30:.1f} GiB of "
            "memory: it is no model to serve"
        )


def _first_line(text: str) -> str:
    """Return what ONNX Runtime says without its places in C++."""
    line = " ".join(text.split()).removeprefix("[ONNXRuntimeError] : ")
    line = re.sub(r"/onnxruntime_src/\S+ .*\)\s", "", line)
    return line[:300] + ("..." if len(line) > 300 else "")


def _remedy(error: str) -> str:
    """What to do about some errors of ONNX Runtime, as the end of a sentence."""
    if "IR version" in error or "ValidateOpsetForDomain" in error:
        return ". Update `onnxruntime`, or export the model again with opset 17"
    unknown_type = "bfloat16" in error or "NOT_IMPLEMENTED" in error
    return ". Export the model again in 32 bits" if unknown_type else ""
