"""What a server process listens with: TLS files, checked, and a bound socket."""

import errno
import platform
import re
import resource
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from calibration.wording import parameter
from hosting.errors import ListenError, SettingsError
from hosting.settings import Settings
from model_store import kernel
from model_store.addresses import shown_address
from model_store.installation import release

BACKLOG: Final = 2048
OPEN_MAX: Final = 10_240
_PEM: Final = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# object identifiers in DER: RSA, P-256, P-384, Ed25519
_KEY_KINDS: Final = tuple(
    bytes.fromhex(kind)
    for kind in ("06092a864886f70d010101", "06082a8648ce3d030107", "06052b81040022", "06032b6570")
)
UNREAD_MS: Final = 75_000  # for which a client may read nothing of its answers


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: every connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard
    if not kernel.ENFORCES:  # macOS refuses more than that, whatever the hard limit says
        most = OPEN_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def process_registry() -> CollectorRegistry:
    """A registry with the metrics of the process and of the release."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    register_build_info(registry)
    return registry


def register_build_info(registry: CollectorRegistry) -> None:
    """Show which release of Candor a process runs, on which Python."""
    help_text, labels = "1; its labels name the release and its Python.", ("version", "python")
    info = Gauge("candor_build_info", help_text, labels, registry=registry)
    info.labels(release(), platform.python_version()).set(1)


def announce(line: str) -> None:
    """Print a line, for whoever waits for the address."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def listen(host: str, port: int, *, setting: str | None = None) -> socket.socket:
    """A bound, listening socket. Raises ListenError. `setting` is what chooses the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address, which stands here already.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise ListenError(
            f"cannot listen on {host}:{port}: {reason}. {_advice(error, setting)}"
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: each connection inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    return listener


def _advice(error: OSError, setting: str | None) -> str:
    """What to do about an address that cannot be listened on: host or port may be wrong."""
    number = error.errno or 0
    if number < 0 or number == errno.EADDRNOTAVAIL:  # below 0: a name that is no address
        return f"Choose an address of this machine with {parameter('host')} or CANDOR_HOST."
    asked = "Is another server running there? " if number == errno.EADDRINUSE else ""
    chosen = setting or f"{parameter('port')} or CANDOR_PORT"
    return f"{asked}Choose another port with {chosen}."


def address(host: str, port: int, settings: Settings) -> str:
    """The URL that the process prints."""
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


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
    _check_kind(certificate)
    return certificate, chosen


def _check_kind(certificate: Path) -> None:
    """Raise SettingsError for a key that Granian cannot sign with: it would answer nobody."""
    found = _PEM.search(certificate.read_text(errors="replace"))
    first = ssl.PEM_cert_to_DER_cert(found[0]) if found else b""
    if not any(kind in first for kind in _KEY_KINDS):
        raise SettingsError(
            f"CANDOR_TLS_CERTIFICATE ({certificate}) has a key of a kind that this server does not "
            "know; use RSA, P-256, P-384 or Ed25519"
        )


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
        "`candor export` and `candor import` make one, and "
        f"{parameter('store')} or CANDOR_STORE names another."
    )
