"""Python, the packages that Candor needs, and ONNX Runtime."""

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import Requirement

from calibration import DISTRIBUTION
from model_store.installation import release
from serving.doctor.diagnosis import Diagnosis
from serving.settings import Settings

RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
PYTHON: Final = (3, 11)
_GPU_PAGE: Final = "docs/how-to/gpu.md says how to install it in a fresh environment"
_PROVIDERS: Final = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def check_python() -> Iterator[Diagnosis]:
    """Whether this Python is new enough."""
    found = f"Candor {release()} on Python {'.'.join(map(str, sys.version_info[:3]))}"
    if sys.version_info < PYTHON:
        yield Diagnosis("python", "broken", found, "install Python 3.11 or later, and Candor there")
    else:
        yield Diagnosis("python", "ok", found)


def check_packages() -> Iterator[Diagnosis]:
    """Whether every package that serving needs is there, in a release that will do."""
    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        yield Diagnosis(
            "packages", "skipped", "Candor runs from its source, so nothing says what it needs"
        )
        return
    needed = [
        each
        for each in map(Requirement, listed)
        if each.marker is None or each.marker.evaluate({"extra": ""})
    ]
    wrong = [problem for each in needed if (problem := _problem(each)) is not None]
    if wrong:
        advice = f"{sys.executable} -m pip install {' '.join(repr(need) for need, _ in wrong)}"
        yield Diagnosis("packages", "broken", "; ".join(found for _, found in wrong), advice)
    else:
        yield Diagnosis("packages", "ok", f"all {len(needed)} that serving needs are there")


def check_runtime(settings: Settings) -> Iterator[Diagnosis]:
    """Which providers ONNX Runtime has, and whether the device of the settings is among them."""
    installed = {name: found for name in RUNTIMES if (found := _version(name)) is not None}
    if len(installed) > 1:
        found = " and ".join(f"{name} {number}" for name, number in installed.items())
        yield Diagnosis(
            "onnx runtime",
            "broken",
            f"{found} own the same files, and one overwrote the other",
            _GPU_PAGE,
        )
        return
    try:
        from model_store.runtime import ort

        providers = [str(each) for each in ort.get_available_providers()]
    except (ImportError, OSError) as error:
        advice = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
        yield Diagnosis("onnx runtime", "broken", f"it cannot be loaded ({error})", advice)
        return
    found = f"{ort.__version__} with {', '.join(providers)}; its telemetry is off"
    wanted = _PROVIDERS.get(settings.device)
    if wanted is not None and wanted not in providers:
        missing = f"CANDOR_DEVICE is {settings.device}, but ONNX Runtime {found}"
        yield Diagnosis("onnx runtime", "warning", missing, f"it infers on the CPU; {_GPU_PAGE}")
    else:
        yield Diagnosis("onnx runtime", "ok", found)


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
