"""Versions of the libraries that a run used."""

import platform
from importlib.metadata import version

LIBRARIES = ("numpy", "pillow", "timm", "torch", "torchvision")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
