"""Starts the worker of a decoding process.

It is started by exec, not forked, because the server has threads of ONNX Runtime.

It inherits no environment but what Python itself needs, and confines itself before the first image
(model_store/confinement.py), so that no secret reaches the code that parses hostile bytes.
"""

import json
import os
import socket
import subprocess
import sys
from typing import Final

from model_store import kernel
from model_store.confinement import bare_environment

# One thread and one arena: a process decodes one image at a time. It keeps 64 MiB for the
# next image, because getting it from the system again costs up to half as much as decoding.
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
# sys.path is handed over, because the server's own may come from its working directory.
_START: Final = (
    "import json, sys; parent, sys.path[:], *given = json.loads(sys.argv[1]); "
    "from serving.decoding.worker import main; main(parent, *given)"
)


def start_child(
    connection: socket.socket, file: int, image_bytes: int
) -> tuple["subprocess.Popen[bytes]", kernel.ChildWatch | None]:
    """Start the worker, with `connection` as its standard input. Raises OSError."""
    watch = None if kernel.ENFORCES else kernel.ChildWatch()
    pipes = [] if watch is None else [watch.child_end]
    given = json.dumps([os.getpid(), sys.path, file, watch and watch.child_end, image_bytes])
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", _START, given],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**bare_environment(), **_ENVIRONMENT},
        pass_fds=[file, *pipes],
        start_new_session=True,
    )
    if watch is not None:
        watch.follow(child)
    return child, watch
