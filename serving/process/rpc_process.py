"""The process that speaks gRPC for a server: started, watched, and started again.

It asks the server through a socket of the file system. A client that floods it takes its time and
memory, and not the server's: beyond LEAST_BYTES and what its messages need, it ends.
"""

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from pydantic import SecretStr

from model_store.confinement import bare_environment, close_pipes, hide
from monitoring.http.body_budget import BodyBudget
from serving.errors import ListenError
from serving.http.auth import read_access
from serving.inference.freed_memory import resident_bytes, return_freed_memory
from serving.process.listener import announce, tls_files
from serving.process.logs import configure_logging
from serving.process.token_file import keep_tokens
from serving.settings import Settings

logger = logging.getLogger(__name__)

# sys.path is handed over, because the server's own may come from its working directory.
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from serving.process.rpc_process import main; main()"
)
# Memory of large messages goes back to the system at once, so that what is resident is in use.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
LEAST_BYTES: Final = 64 * 2**20
LOOK_S: Final = 0.02
RESTART_S: Final = 1.0
END_S: Final = 2.0


class RpcProcess:
    """The process as the server sees it, and the socket on which the server answers it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A socket's name has at most 107 bytes, and TMPDIR may be longer.
        place = "/tmp" if len(os.fsencode(gettempdir())) > 64 else None
        self._folder = TemporaryDirectory(prefix="candor-grpc-", dir=place)
        self._address = str(Path(self._folder.name, "socket"))
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self._address)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> int:
        """Start it; return the port on which it listens. Raises ListenError."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=bare_environment() | _ENVIRONMENT,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            given = [self._settings.model_dump(), self._address]
            process.stdin.write(json.dumps(given, default=_plain).encode() + b"\n")
            process.stdin.flush()
        said = json.loads(await asyncio.to_thread(process.stdout.readline) or b"{}")
        if "port" not in said:
            raise ListenError(said.get("error", "the process of gRPC does not stay alive here."))
        self._settings = self._settings.model_copy(update={"grpc_port": said["port"]})
        return int(said["port"])

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            assert self._process is not None
            code = await asyncio.to_thread(self._process.wait)
            close_pipes(self._process)
            logger.warning("the process of gRPC ended", extra={"fields": {"code": code}})
            await asyncio.sleep(RESTART_S)
            with suppress(ListenError, OSError):  # no memory for a process, for a moment
                await self.start()

    async def stop(self, drain_s: float) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, drain_s + END_S)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            close_pipes(self._process)
        self.listener.close()
        self._folder.cleanup()


def _plain(value: object) -> str:
    """A value of a setting for JSON: a secret as it is, a path or address as text."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def main() -> None:
    """The process itself. It ends once its standard input does, as when the server ends."""
    hide()
    values, address = json.loads(sys.stdin.buffer.readline())
    settings = Settings(**values)
    configure_logging(settings.log_level)
    try:
        asyncio.run(_serve(settings, address))
    except ListenError as error:
        announce(json.dumps({"error": str(error)}))


async def _serve(settings: Settings, address: str) -> None:
    import httpx  # a tenth of what a server imports, which does not need it

    from serving.v2.rpc import RpcService, start_grpc

    access = read_access(settings, ())
    transport = httpx.AsyncHTTPTransport(uds=address, limits=httpx.Limits(max_connections=None))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", timeout=None, headers={"user-agent": ""}
    ) as client:
        service = RpcService(client, settings=settings, access=access)
        server, port = await start_grpc(service, settings, tls=tls_files(settings))
        threading.Thread(target=_bound_memory, args=(service.bodies,), daemon=True).start()
        keeping = asyncio.create_task(keep_tokens(access, settings))
        announce(json.dumps({"port": port}))
        await asyncio.to_thread(sys.stdin.buffer.read)
        keeping.cancel()
        await server.stop(settings.drain_s)
    shutil.rmtree(Path(address).parent, ignore_errors=True)  # a server that was killed cannot


def _bound_memory(bodies: BodyBudget) -> None:
    """End the process once it takes more than LEAST_BYTES beside what messages need."""
    before_bytes = resident_bytes()

    def is_over() -> bool:
        return resident_bytes() > before_bytes + LEAST_BYTES + 2 * bodies.held_bytes

    while True:
        time.sleep(LOOK_S)
        if is_over():
            return_freed_memory()
            if is_over():
                logger.error("gRPC takes too much memory; its process ends and is started again")
                os._exit(1)
