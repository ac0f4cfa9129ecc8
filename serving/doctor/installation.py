"""The installation: system, Python, packages, ONNX Runtime, ports, and files."""

import getpass
import os
import platform
import shlex
import stat
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from calibration import DISTRIBUTION
from hosting.auth import read_access
from hosting.errors import ListenError, SettingsError
from hosting.listener import listen, tls_files
from hosting.settings import Settings
from model_store import kernel
from model_store.confinement import SCOPE_VERSION, landlock_version
from model_store.installation import release
from serving.doctor.check_result import CheckResult
from serving.health import ask

_SYSTEM = partial(CheckResult, "system")
_CONFINEMENT = partial(CheckResult, "confinement")
_ACCESS = partial(CheckResult, "access")
_PERMISSIONS = partial(CheckResult, "permissions")
_PYTHON = partial(CheckResult, "python")
_PACKAGES = partial(CheckResult, "packages")
_ONNX_RUNTIME = partial(CheckResult, "onnx runtime")

STATUS: Final = Path("/proc/self/statm")


def check_system() -> Iterator[CheckResult]:
    """Whether this system can keep the limits on which serving rests: Linux, with /proc."""
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if not kernel.ENFORCES:
        yield _SYSTEM("warning", f"{found}: {kernel.WEAKER}", "serve patients' images from Linux")
        return
    try:
        STATUS.read_text()
    except OSError:
        advice = "mount /proc: without it the limits of memory for images are not exact"
        yield _SYSTEM("warning", f"{found} without {STATUS}", advice)
    else:
        yield _SYSTEM("ok", found)


def check_confinement() -> Iterator[CheckResult]:
    """Whether this kernel takes every right from the processes that read images and models."""
    version = landlock_version()
    found = f"this kernel has {f'Landlock {version}' if version else 'no Landlock'}"
    if version >= SCOPE_VERSION:
        yield _CONFINEMENT("ok", found)
        return
    left = "signal other processes" if version else "start programs, remove files and read memory"
    yield _CONFINEMENT(
        "warning",
        f"{found}: an image that takes over its decoding process could {left} as this user",
        "Linux 6.12 or later, with `landlock` in /sys/kernel/security/lsm and allowed by the "
        "container's seccomp profile (docs/security.md)",
    )


def check_ports(settings: Settings) -> Iterator[CheckResult]:
    place = f"{settings.host}:{settings.port}"
    if settings.port == 0:
        return
    try:
        listen(settings.host, settings.port).close()
        yield CheckResult("port", "ok", f"{place} is free")
    except ListenError as error:
        if ask(settings).alive:
            yield CheckResult("port", "ok", f"Candor answers at {place}")
        else:
            yield CheckResult(
                "port", "broken", str(error), "end what listens there, or set CANDOR_PORT"
            )


def check_access(settings: Settings) -> Iterator[CheckResult]:
    """Whether tokens and certificate can be used, and a server that others reach has any."""
    try:
        tls = tls_files(settings)
        read_access(settings, ())
    except SettingsError as error:
        yield _ACCESS("broken", str(error), _access_advice(settings))
        return
    tokens = settings.tokens is not None or settings.tokens_file is not None
    found = (
        f"{'tokens' if tokens else 'no tokens'}, {'HTTPS' if tls else 'plain HTTP'}, at "
        f"{settings.host}"
    )
    if not tokens and settings.host not in ("127.0.0.1", "::1", "localhost"):
        yield _ACCESS(
            "warning",
            f"{found}: everybody who reaches it may do everything",
            "docs/how-to/secure.md",
        )
    else:
        yield _ACCESS("ok", found)


def check_files(settings: Settings) -> Iterator[CheckResult]:
    """Whether files with secrets are this user's alone, and files that must be written can be."""
    for name in ("tokens_file", "ledger_file", "tls_key"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            yield from _check_secret(path, f"{path} (CANDOR_{name.upper()})")
    root = None if "://" in settings.store else Path(settings.store)
    if root is not None and root.is_dir() and root.stat().st_mode & stat.S_IWOTH:
        found = (
            f"everybody may write to the store {settings.store}, and so change what models answer"
        )
        yield _PERMISSIONS("broken", found, f"chmod o-w {settings.store}")
    if settings.spool_limit_bytes:
        folder = settings.spool.resolve().parent
        if not (
            folder.is_dir()
            and os.access(settings.spool if settings.spool.exists() else folder, os.W_OK)
        ):
            found = f"the spool {settings.spool.resolve()} cannot be written"
            yield _PERMISSIONS(
                "broken", found, "set CANDOR_SPOOL to a file that this user can write"
            )
            return
    yield _PERMISSIONS("ok", "files that must be written can be")


def _check_secret(path: Path, title: str) -> Iterator[CheckResult]:
    quoted = shlex.quote(str(path))
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except FileNotFoundError:
        yield _PERMISSIONS("warning", f"{title} does not exist", "make it, or unset the variable")
    except OSError as error:
        found = f"{title} cannot be read ({error.strerror})"
        yield _PERMISSIONS(
            "warning", found, f"as its owner or root: chown {getpass.getuser()} {quoted}"
        )
    else:
        if mode & stat.S_IROTH:
            found = f"{title} can be read by everybody on this machine"
            yield _PERMISSIONS("warning", found, f"chmod 600 {quoted}")


def _access_advice(settings: Settings) -> str:
    file = settings.tokens_file
    if file is None or file.exists():
        return (
            "correct what it names; docs/how-to/secure.md has the format of tokens, and what a "
            "certificate needs"
        )
    token = f'echo "$(openssl rand -hex 32) admin NAME" > {shlex.quote(str(file))}'
    return (
        f"make it: `(umask 077; {token})`; one line for each client, with its scopes "
        "(docs/how-to/secure.md)"
    )


RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
PYTHON: Final = (3, 11)
_GPU_PAGE: Final = "docs/how-to/gpu.md says how to install it in a fresh environment"
_PROVIDERS: Final = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def check_python() -> Iterator[CheckResult]:
    found = f"Candor {release()} on Python {'.'.join(map(str, sys.version_info[:3]))}"
    if sys.version_info < PYTHON:
        yield _PYTHON("broken", found, "install Python 3.11 or later, and Candor there")
    else:
        yield _PYTHON("ok", found)


def check_packages() -> Iterator[CheckResult]:
    """Whether every package that serving needs is there, in a release that will do."""
    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        yield _PACKAGES("skipped", "Candor runs from its source, so nothing says what it needs")
        return
    needed = [
        each
        for each in map(Requirement, listed)
        if each.marker is None or each.marker.evaluate({"extra": ""})
    ]
    wrong = [problem for each in needed if (problem := _problem(each)) is not None]
    if wrong:
        advice = f"{sys.executable} -m pip install {' '.join(repr(need) for need, _ in wrong)}"
        yield _PACKAGES("broken", "; ".join(found for _, found in wrong), advice)
    else:
        yield _PACKAGES("ok", f"all {len(needed)} that serving needs are there")


def check_runtime(settings: Settings) -> Iterator[CheckResult]:
    """Which providers ONNX Runtime has, and whether the device of the settings is among them."""
    installed = {name: found for name in RUNTIMES if (found := _version(name)) is not None}
    if len(installed) > 1:
        found = " and ".join(f"{name} {number}" for name, number in installed.items())
        yield _ONNX_RUNTIME(
            "broken", f"{found} own the same files, and one overwrote the other", _GPU_PAGE
        )
        return
    try:
        from model_store.runtime import ort

        providers = [str(each) for each in ort.get_available_providers()]
    except (ImportError, OSError) as error:
        advice = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
        yield _ONNX_RUNTIME("broken", f"it cannot be loaded ({error})", advice)
        return
    found = f"{ort.__version__} with {', '.join(providers)}; its telemetry is off"
    wanted = _PROVIDERS.get(settings.device)
    if wanted is not None and wanted not in providers:
        missing = f"CANDOR_DEVICE is {settings.device}, but ONNX Runtime {found}"
        yield _ONNX_RUNTIME("warning", missing, f"it infers on the CPU; {_GPU_PAGE}")
    else:
        yield _ONNX_RUNTIME("ok", found)


def _problem(need: Requirement) -> tuple[str, str] | None:
    """A requirement that is not met, and what is there instead."""
    found = _version(need.name)
    name = need.name
    if found is None and name == "onnxruntime":
        found, name = _version("onnxruntime-gpu"), "onnxruntime-gpu"
    if found is None:
        return f"{need.name}{need.specifier}", f"{need.name} is missing"
    if not need.specifier.contains(found, prereleases=True):
        return f"{name}{need.specifier}", f"{name} is {found}, Candor needs {need.specifier}"
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
