"""A process of the server's own: started by exec, without the server's environment, and ended
together with it.

Not forked, because the server has threads of ONNX Runtime.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

# sys.path is handed over, because the server's own may come from its working directory.
_START: Final = (
    "import json, sys; parent, sys.path[:], numbers = json.loads(sys.argv[1]); "
    "from {module} import main; main(parent, *numbers)"
)
_ENVIRONMENT: Final = (
    "LD_LIBRARY_PATH",
    "PATH",
    "TZ",
    "COVERAGE_PROCESS_CONFIG",
    "COVERAGE_PROCESS_START",
)
_PR_SET_PDEATHSIG: Final = 1


def start_child(
    module: str,
    connection: socket.socket,
    *,
    files: Sequence[int] = (),
    environment: Mapping[str, str],
    stderr: int | IO[Any] | None = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start `main(parent, *files)` of a module, with `connection` as its standard input. Raises
    OSError.

    Call it in a thread that lives as long as the process may: Linux ends it with the thread.
    `environment` is added to what Python itself needs. `files` are open files that it inherits, by
    number.
    """
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    given = json.dumps([os.getpid(), sys.path, list(files)])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _START.format(module=module), given],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={**kept, **environment},
        pass_fds=files,
        start_new_session=True,
    )


def obey_only(parent: int) -> None:
    """Ignore SIGINT and SIGTERM, which the server answers, and end with it, however it ends.

    Where the kernel cannot end a process with its parent, the end of the socket does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit()
