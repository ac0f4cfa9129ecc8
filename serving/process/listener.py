"""What a server process listens with: socket, TLS files, and a uvicorn that drains."""

import asyncio
import contextlib
import errno
import logging
import math
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.types import ASGIApp

from model_store import kernel
from model_store.addresses import shown_address
from model_store.confinement import hide
from serving.errors import ListenError, SettingsError
from serving.http.auth import read_access
from serving.http.connection import BoundedProtocol, LoggedProtocol
from serving.inference.metrics import register_build_info
from serving.process.logs import configure_logging
from serving.settings import Settings, ignored_variables

logger = logging.getLogger(__name__)

FORCED = 1
BACKLOG = 2048
# Handshakes take milliseconds each, and a connection waits for those that came before it.
TLS_BACKLOG: Final = 128
# As long as a request head may take; HTTP does not know the connection before it.
HANDSHAKE_S: Final = 10.0
TURN_S: Final = 0.001
OPEN_MAX: Final = 10_240


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: every connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard
    if not kernel.ENFORCES:  # macOS refuses more than that, whatever the hard limit says
        most = OPEN_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def prepare(settings: Settings) -> None:
    """Hide the tokens, check them and TLS files, configure logging. Raises SettingsError."""
    hide()
    read_access(settings, ())
    tls_files(settings)
    configure_logging(settings.log_level)
    if not kernel.ENFORCES:
        logger.warning("%s", kernel.WEAKER)
    if ignored := ignored_variables():
        logger.info(
            "ignored variables that Kubernetes injected for a Service",
            extra={"fields": {"names": ignored}},
        )


def process_registry() -> CollectorRegistry:
    """A registry with the metrics of the process and of the release."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    register_build_info(registry)
    return registry


def announce(line: str) -> None:
    """Print a line, for whoever waits for the address."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def listen(host: str, port: int, *, setting: str = "--port or CANDOR_PORT") -> socket.socket:
    """A bound, listening socket. Raises ListenError. `setting` is what chooses the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address, which stands here already.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise ListenError(
            f"cannot listen on {host}:{port}: {reason}. {_advice(error, setting)}"
        ) from error


def _advice(error: OSError, setting: str) -> str:
    """What to do about an address that cannot be listened on: host or port may be wrong."""
    number = error.errno or 0
    if number < 0 or number == errno.EADDRNOTAVAIL:  # below 0: a name that is no address
        return "Choose an address of this machine with --host or CANDOR_HOST."
    asked = "Is another server running there? " if number == errno.EADDRINUSE else ""
    return f"{asked}Choose another port with {setting}."


def address(listener: socket.socket, settings: Settings) -> str:
    """The URL that the process prints."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class DrainingServer(uvicorn.Server):
    """uvicorn whose first SIGTERM or Ctrl-C drains and exits 0; the second exits at once.

    `ending` is set once it accepts no more connections.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, drain: Callable[[], None]) -> None:
        super().__init__(_config(app, settings))
        self._drain, self._delay_s, self._draining = drain, settings.drain_delay_s, False
        self.ending = asyncio.Event()

    def catch_signals(self) -> None:
        """Drain on SIGTERM and Ctrl-C from now on. Call it before the address is printed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin_drain)

    def begin_drain(self) -> None:
        """Drain now; end the process at once if it drains already."""
        if self._draining:
            logger.warning("second signal: exiting at once")
            sys.stderr.flush()
            os._exit(FORCED)
        self._draining = True
        self._drain()
        asyncio.get_running_loop().call_later(self._delay_s, self._end)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replace uvicorn's handling, which raises the signal again and so never exits 0."""
        yield

    def _end(self) -> None:
        self.should_exit = True
        self.ending.set()


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    certificate, key = tls_files(settings) or (None, None)
    return uvicorn.Config(
        app,
        http=LoggedProtocol if settings.log_requests else BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )


class BoundedLoop(uvloop.Loop):
    """Its TLS servers close a connection that does not shake hands in HANDSHAKE_S (else 60 s).

    While it runs, a thread that parses gives the interpreter back after TURN_S. An answer asks for
    the interpreter a dozen times, so with Python's 5 ms it waits up to 0.1 s for two such threads.
    """

    def run_forever(self) -> None:
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(TURN_S)
        try:
            super().run_forever()
        finally:
            sys.setswitchinterval(before_s)

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        if options.get("ssl") is not None:
            options |= {"ssl_handshake_timeout": HANDSHAKE_S, "backlog": TLS_BACKLOG}
        return await super().create_server(*arguments, **options)


def tls_files(settings: Settings) -> tuple[Path, Path] | None:
    """The files of the certificate chain and of its key, which may be one file; None without TLS.

    Raises SettingsError unless both can be read and belong together.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        if key is not None:
            raise SettingsError(
                "CANDOR_TLS_KEY is set without CANDOR_TLS_CERTIFICATE; set both, or neither"
            )
        return None
    chosen = certificate if key is None else key
    for setting, file in (("CANDOR_TLS_CERTIFICATE", certificate), ("CANDOR_TLS_KEY", chosen)):
        _check_readable(setting, file)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, chosen, password=_refuse
        )
    except ssl.SSLError as error:
        raise SettingsError(
            f"CANDOR_TLS_CERTIFICATE ({certificate}) and CANDOR_TLS_KEY ({chosen}) are not a "
            f"certificate chain and its private key, both PEM ({error.reason or 'not PEM'})"
        ) from None
    return certificate, chosen


def _check_readable(setting: str, file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {file} cannot be read ({error.strerror})") from None


def _refuse() -> str:
    raise SettingsError(
        "the private key of CANDOR_TLS_KEY is encrypted; decrypt it, because nobody can type a "
        "password"
    )


def announce_missing_store(settings: Settings, *, consequence: str) -> None:
    """Print what to do about a store that is not there; one at an address only a request shows."""
    store = settings.opened_store
    if store.address is not None or store.root.is_dir():
        return
    announce(
        f"There is no model store at {shown_address(settings.store)} yet: {consequence} "
        "`candor export` and `candor import` make one, and --store or CANDOR_STORE names another."
    )
