"""Foreign graphs in a process of its own, with limits on memory and time.

A file may ask for endless time or memory while it is parsed, converted or run, and a crash in a
library would end the caller. So all of that happens in another process, which has no environment
and no rights (model_store/confinement.py). It may be taken over by the file; nothing that it says
is believed without a check.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from model_store import kernel
from model_store.confinement import bare_environment, close_pipes
from model_store.errors import ForeignModelRefused
from model_store.foreign.frames import BrokenFrame, read_frame, write_frame
from model_store.image.probes import Run
from model_store.installation import usable_cores

_WORKER: Final = "model_store.foreign.sandbox_worker"
_START: Final = (
    "import importlib, json, sys; sys.path[:], worker, *limits = json.loads(sys.argv[1]); "
    "importlib.import_module(worker).main(*limits)"
)
BASE_BYTES: Final = 4 * 2**30  # the address space of Python, ONNX Runtime and one batch
TIMES_FILE: Final = 12  # a graph is loaded up to three times, and copied while it is optimized
SECONDS: Final = 180.0
MAX_ANSWER_BYTES: Final = 2**28  # of scores; a file that is read may give a graph of its own size

Array = npt.NDArray[Any]


class Answer(BaseModel):
    """What the other process may say; anything else is a refusal."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Done(Answer):
    """There is nothing to say beside the arrays."""


class _Loaded(Answer):
    inputs: list["TensorSpec"]


class TensorSpec(Answer):
    """An input as ONNX Runtime describes it; a dimension is a number, a name, or None."""

    name: str
    type: str
    shape: list[int | str | None]


_Loaded.model_rebuild()
_Said = TypeVar("_Said", bound=Answer)


@dataclass(frozen=True)
class SandboxSession:
    """One graph that is loaded in a sandbox."""

    sandbox: "Sandbox"
    number: int
    inputs: tuple[TensorSpec, ...]

    def run(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return outputs, which must be arrays of numbers. Raises ForeignModelRefused."""
        asked = {"do": "run", "session": self.number, "outputs": list(outputs)}
        _, given = self.sandbox.ask(asked, arrays, Done)
        if not set(given) <= set(outputs):
            raise self.sandbox.disbelieved("it names other outputs")
        if absent := [name for name in outputs if name not in given]:
            raise ForeignModelRefused(f"its output '{absent[0][:100]}' holds no numbers")
        return given

    def rows(
        self, arrays: Mapping[str, Array], *outputs: str, columns: int | None = None
    ) -> list[Array]:
        """Return outputs that are rows for each image, (N, K) and finite.

        N is that of the arrays, and `columns` K of the first output. Raises ForeignModelRefused.
        """
        images, given = len(next(iter(arrays.values()))), self.run(arrays, outputs)
        rows = [given[name] for name in outputs]
        shapes = [list(each.shape) for each in rows]
        if any(len(each) != 2 or each[0] != images for each in shapes) or (
            columns not in (None, shapes[0][1])
        ):
            raise self.sandbox.disbelieved(f"scores of {images} images are {shapes[0]}")
        if not all(np.isfinite(each).all() for each in rows):
            raise ForeignModelRefused(
                "its scores are not finite for ordinary images: the file is damaged, or numbers in "
                "half precision overflow. Export the model again in 32 bits (`model.float()`)"
            )
        return rows

    def unload(self) -> None:
        """Free the memory of the graph."""
        self.sandbox.ask({"do": "unload", "session": self.number}, {}, Done)


class Sandbox:
    """A process with limits in which graphs are read, loaded and run. Use it as a context manager.

    Methods raise ForeignModelRefused if a graph fails or exceeds the limits, or if the process says
    what it cannot say. After the latter two it is gone.
    """

    def __init__(
        self, model_bytes: int, *, memory_bytes: int | None = None, seconds: float = SECONDS
    ) -> None:
        """`model_bytes`: size of the foreign file, on which the limit of memory depends."""
        self._seconds = seconds
        self._start(memory_bytes or BASE_BYTES + TIMES_FILE * model_bytes)

    def _start(self, limit: int) -> None:
        self._limit, self._timed_out, self._loaded = limit, False, 0
        self._watch = None if kernel.ENFORCES else kernel.ChildWatch()
        pipes = [] if self._watch is None else [self._watch.child_end]
        pipe = self._watch and self._watch.child_end
        given = json.dumps([sys.path, _WORKER, limit, usable_cores(), pipe])
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
            self._watch.limit(limit)

    def enlarged(self, model_bytes: int) -> None:
        """Start again with the memory for a larger model; loaded graphs are gone."""
        limit = BASE_BYTES + TIMES_FILE * model_bytes
        if limit > self._limit:
            self.close()
            self._start(limit)

    def load(self, model: bytes) -> SandboxSession:
        """Load a graph with ONNX Runtime."""
        given = {"model": np.frombuffer(model, np.uint8)}
        answer, _ = self.ask({"do": "load"}, given, _Loaded)
        self._loaded += 1
        return SandboxSession(self, self._loaded - 1, tuple(answer.inputs))

    def prepared(self, graph: bytes) -> Run:
        """A graph of Candor's contract, ready to run."""
        session = self.load(graph)
        return lambda images: session.rows({"image": images}, "probabilities")[0]

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
        self,
        asked: Mapping[str, Any],
        arrays: Mapping[str, Array],
        expected: type[_Said],
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> tuple[_Said, dict[str, Array]]:
        """Send a message to the process; return its answer, whose arrays have `max_bytes` in all.

        Raises ForeignModelRefused.
        """
        timer = threading.Timer(self._seconds, self._expire)
        timer.start()
        try:
            said, given = self._exchange(asked, arrays, max_bytes)
        finally:
            timer.cancel()
        if set(said) == {"error"} and isinstance(said["error"], str):
            error = said["error"]
            raise ForeignModelRefused(
                f"ONNX Runtime cannot run the model: {_first_line(error)}{_remedy(error)}"
            )
        try:
            return expected.model_validate(said), given
        except ValidationError as error:
            raise self.disbelieved("it is no answer to the question") from error

    def disbelieved(self, why: str) -> ForeignModelRefused:
        """End the process, which said what it cannot say; return the error to raise."""
        self._process.kill()
        return ForeignModelRefused(
            f"the process that reads the model gave a wrong answer ({why}): the file may have "
            "taken it over. Do not use this file; get the model from whoever made it"
        )

    def _exchange(
        self, asked: Mapping[str, Any], arrays: Mapping[str, Array], max_bytes: int
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the sandbox is closed")
        try:
            write_frame(stdin, asked, arrays)
            return read_frame(stdout, max_bytes=max_bytes)
        except BrokenFrame as error:
            raise self.disbelieved(str(error)) from error
        except (EOFError, OSError, ValueError) as error:  # ValueError: a pipe that was closed
            raise ForeignModelRefused(self._death()) from error

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
            "the model crashed the process that reads and runs it, or took over "
            f"{self._limit / 2**30:.1f} GiB of memory: it is no model to serve"
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
