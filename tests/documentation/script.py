"""The commands of a page as one shell script, and its run: real processes, real files, real ports.

Pages print the ports of the defaults. So a script runs in a network of its own where this machine
allows one; elsewhere free ports take their place.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.builders.processes import environment
from tests.documentation.commands import ROOT, Command
from tests.documentation.walks import Walk

PATIENCE_S: Final = 900.0
_ALONE: Final = ('ip link set lo up && exec "$@"', "alone")
_NETWORKS: Final = (["unshare", "--net"], ["unshare", "--net", "--map-root-user"])
_SERVER: Final = re.compile(r"(?:^|\s)candor (?:serve|monitor)\b")
_PORT: Final = re.compile(r"--port (\d+)")
_PRINTED: Final = re.compile(r"\b(8080|8090)\b")
_SENDING: Final = re.compile(r"\bcandor (feedback|predictions|traffic)\b(?!.*--url)")
# A refusal over HTTP fails, as a reader would say; whoever types takes longer than a server's
# start.
_PREAMBLE: Final = """
exec < <(yes)
servers=""
trap 'for each in $servers; do kill "$each" 2>/dev/null || true; done; [ -z "$servers" ] || wait $servers || true' EXIT
curl() { command curl -fS "$@"; }
up() { until command curl -sf -o /dev/null "http://127.0.0.1:$1/readyz"; do kill -0 "$2"; sleep 0.1; done; }
down() { [ -z "$1" ] || { kill "$1" 2>/dev/null && wait "$1"; } || true; }
"""


def run_walk(walk: Walk, commands: Iterable[Command], folder: Path) -> str:
    """Type a walk's commands in `folder`; what they print. AssertionError if one fails."""
    prefix, ports = _network()
    script = "\n".join([_PREAMBLE, *_lines(walk, commands)])
    if ports:
        script = _PRINTED.sub(lambda found: ports[found[1]], script)
        script = _SENDING.sub(rf"candor \1 --url http://127.0.0.1:{ports['8080']}", script)
        script = f"export CANDOR_PORT={ports['8080']}\n{script}"
    done = subprocess.Popen(
        [*prefix, "bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, complained = done.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)
        printed, complained = done.communicate()
    assert done.returncode == 0, f"{script}\n---\n{printed}\n---\n{complained}"
    return printed


def _lines(walk: Walk, commands: Iterable[Command]) -> Iterator[str]:
    yield from (_started(line) for line in walk.before)
    for command in commands:
        if not walk.runs(command):
            continue
        typed = walk.filled(command.typed)
        yield from (_started(line) for line in walk.between(command))
        if not command.is_python:
            yield f"echo '+' {_quoted(typed)} >&2"
            yield _started(typed)
        elif command.file:
            yield f"cat > {command.file} <<'PYTHON'\n{typed}PYTHON"
        else:
            yield f"python - <<'PYTHON'\n{typed}PYTHON"


def _started(typed: str) -> str:
    """A server runs until another takes its port; all else is typed as it is."""
    if not _SERVER.search(typed):
        return typed
    port = (_PORT.findall(typed) or ["8080"])[0]
    name = f"server_{port}"
    command = typed.rstrip().removesuffix("&").rstrip()
    return (
        f'down "${{{name}:-}}"\n{command} &\n{name}=$!; servers="$servers ${name}"; up {port} '
        f"${name}"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _environment(folder: Path) -> dict[str, str]:
    kept = environment()
    kept |= {name: os.environ[name] for name in ("CANDOR_DATA",) if name in os.environ}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return kept | {"HOME": str(folder), "PYTHONPATH": str(ROOT)}


def _network() -> tuple[list[str], dict[str, str]]:
    """What runs a command where every port is free; else nothing, and ports instead."""
    for unshare in _NETWORKS:
        prefix = [*unshare, "bash", "-c", *_ALONE]
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix, {}
        except FileNotFoundError:
            break
    probes = {name: socket.create_server(("127.0.0.1", 0)) for name in ("8080", "8090")}
    ports = {name: str(probe.getsockname()[1]) for name, probe in probes.items()}
    for probe in probes.values():
        probe.close()
    return [], ports
