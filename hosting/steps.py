"""The steps of a start, as `candor doctor` prints them.

A step finds out something and says it, or raises. A start runs the steps of START: what is doubtful
is logged, and an error ends it.
"""

import getpass
import logging
import os
import platform
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from hosting.auth import read_access
from hosting.errors import ServingError
from hosting.listener import tls_files
from hosting.logs import configure_logging
from hosting.settings import Settings, ignored_variables
from model_store import kernel
from model_store.confinement import SCOPE_VERSION, hide, landlock_version
from model_store.errors import ModelStoreError
from monitoring.errors import MonitoringError

logger = logging.getLogger(__name__)

STATUS: Final = Path("/proc/self/statm")


@dataclass(frozen=True)
class Finding:
    """What a step found.

    Attributes:
        found: a clause that says what was found; it contains no secret.
        advice: what to do; None unless the state is `warning` or `broken`.
        state: `broken`: Candor cannot work like this. `warning`: it works, but not as one would
            expect. `skipped`: there is nothing to look at.
    """

    found: str
    advice: str | None = None
    state: Literal["ok", "warning", "broken", "skipped"] = "ok"


doubt = partial(Finding, state="warning")
broken = partial(Finding, state="broken")
skipped = partial(Finding, state="skipped")
Step: TypeAlias = Callable[[Settings], Iterator[Finding]]


def examine(step: Step, settings: Settings, advice: str) -> Iterator[Finding]:
    """What a step finds; an error is one more finding, with `advice` unless it names packages."""
    try:
        yield from step(settings)
    except (ServingError, ModelStoreError, MonitoringError, OSError) as error:
        yield broken(str(error), getattr(error, "install", None) or advice)


def start(settings: Settings) -> None:
    """Hide the tokens, configure logging, and run the steps of a start. Raises SettingsError."""
    hide()
    configure_logging()
    for step in START:
        for each in step(settings):
            if each.advice is not None:
                logger.warning("%s. To do: %s", each.found, each.advice)
    if ignored := ignored_variables():
        logger.info(
            "ignored variables that Kubernetes injected for a Service",
            extra={"fields": {"names": ignored}},
        )


def system(_: Settings) -> Iterator[Finding]:
    """Whether this system can keep the limits on which serving rests: Linux, with /proc."""
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if not kernel.ENFORCES:
        yield doubt(f"{found}: {kernel.WEAKER}", "serve patients' images from Linux")
    elif not STATUS.exists():
        advice = "mount /proc: without it the limits of memory for images are not exact"
        yield doubt(f"{found} without {STATUS}", advice)
    else:
        yield Finding(found)


def confinement(_: Settings) -> Iterator[Finding]:
    """Whether this kernel takes every right from the processes that read images and models."""
    version = landlock_version()
    found = f"this kernel has {f'Landlock {version}' if version else 'no Landlock'}"
    if version >= SCOPE_VERSION:
        yield Finding(found)
        return
    left = "signal other processes" if version else "start programs, remove files and read memory"
    yield doubt(
        f"{found}: an image that takes over its decoding process could {left} as this user",
        "Linux 6.12 or later, with `landlock` in /sys/kernel/security/lsm and allowed by the "
        "container's seccomp profile (docs/security.md)",
    )


def access(settings: Settings) -> Iterator[Finding]:
    """Whether tokens and certificate can be used, and a server that others reach has any."""
    tls = tls_files(settings)
    read_access(settings, ())
    tokens = settings.tokens is not None or settings.tokens_file is not None
    found = (
        f"{'tokens' if tokens else 'no tokens'}, {'HTTPS' if tls else 'plain HTTP'}, at "
        f"{settings.host}"
    )
    if tokens or settings.host in ("127.0.0.1", "::1", "localhost"):
        yield Finding(found)
    else:
        everybody = f"{found}: everybody who reaches it may do everything"
        yield doubt(everybody, "docs/how-to/secure.md")


def files(settings: Settings) -> Iterator[Finding]:
    """Whether files with secrets are this user's alone, and files that must be written can be."""
    for name in ("tokens_file", "ledger_file", "tls_key"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            yield from _secret(path, f"{path} (CANDOR_{name.upper()})")
    root = Path(settings.store)
    if root.is_dir() and root.stat().st_mode & stat.S_IWOTH:
        found = f"everybody may write to the store {root}, and so change what models answer"
        yield broken(found, f"chmod o-w {root}")
    spool = settings.spool.resolve()
    if settings.spool_limit_bytes and not os.access(
        spool if spool.exists() else spool.parent, os.W_OK
    ):
        advice = "set CANDOR_SPOOL to a file that this user can write"
        yield broken(f"the spool {spool} cannot be written", advice)
    else:
        yield Finding("files that must be written can be")


def _secret(path: Path, title: str) -> Iterator[Finding]:
    quoted = shlex.quote(str(path))
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
    except FileNotFoundError:
        yield doubt(f"{title} does not exist", "make it, or unset the variable")
    except OSError as error:
        found = f"{title} cannot be read ({error.strerror})"
        yield doubt(found, f"as its owner or root: chown {getpass.getuser()} {quoted}")
    else:
        if mode & stat.S_IROTH:
            found = f"{title} can be read by everybody on this machine"
            yield doubt(found, f"chmod 600 {quoted}")


START: Final[Sequence[Step]] = (system, access, files)
