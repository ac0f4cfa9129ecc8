"""This installation of Candor: its release, and how it gets an optional extra.

The distribution is called `candor-calibration`, because `candor` on PyPI is somebody else's
program. No message tells the user to install by name from an index: a checkout is named by its
folder, and any other installation by the packages that the extra consists of.
"""

import os
import re
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from calibration import DISTRIBUTION

# What an extra brings that Candor itself imports and no dependency brings.
EXTRA_MODULES: Final = {
    "train": (
        *("matplotlib", "onnxscript", "safetensors", "scipy", "sklearn", "timm", "torch"),
        "torchvision",
    ),
    "dicom": ("imagecodecs",),
    "traces": ("opentelemetry",),
    "postgres": ("psycopg",),
    "parquet": ("pyarrow",),
    "s3": ("s3fs",),
    "remote": ("fsspec",),
    "signatures": ("cryptography",),
    "signing": ("model_signing", "OpenSSL"),
    "ray": ("ray",),
}
_ROOT = Path(__file__).resolve().parents[1]  # a checkout, or site-packages


def release() -> str:
    """Return the installed release; "unknown" if the source was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def typed_command(*arguments: str) -> str:
    """Return a command line that works when pasted, without an active environment too."""
    beside = Path(sys.executable).with_name("candor")
    here = Path.cwd()
    if not beside.is_file():
        program = [sys.executable, "-m", "candor"]
    elif shutil.which("candor") == str(beside):
        program = ["candor"]
    else:
        program = [str(beside.relative_to(here) if beside.is_relative_to(here) else beside)]
    return shlex.join([*program, *arguments])


def install_command(extra: str, *, root: Path = _ROOT) -> str:
    """Return the command that adds an extra to this installation, with the Python that runs it.

    Args:
        extra: a key of `optional-dependencies` in pyproject.toml, such as "train".
        root: the folder that holds the packages; a checkout if it also has a pyproject.toml.
    """
    is_checkout = (root / "pyproject.toml").is_file()
    wanted = ["-e", f"{root}[{extra}]"] if is_checkout else requirements(extra)
    return shlex.join([sys.executable, "-m", "pip", "install", *wanted])


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module, such as "train" for "torch.nn"; None if none does."""
    top = module.partition(".")[0]
    return next((extra for extra, modules in EXTRA_MODULES.items() if top in modules), None)


def requirements(extra: str) -> list[str]:
    """Return an extra's packages as the distribution lists them, such as ["pyarrow>=17"]."""
    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        listed = []
    pairs = (line.partition(";") for line in listed)
    return [
        name.strip()
        for name, _, marker in pairs
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker)
    ]


def usable_cores() -> int:
    """How many cores this process may use; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
