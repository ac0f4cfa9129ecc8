"""The code of a run: versions of libraries, and the commit of Candor's own repository."""

import os
import platform
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

from calibration import DISTRIBUTION

LIBRARIES = ("numpy", "pillow", "timm", "torch", "torchvision")
_ROOT = Path(__file__).resolve().parents[2]  # a checkout, or site-packages
_ONE_FILE = "training/runs/source.py"


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def source_commit(root: Path = _ROOT) -> str | None:
    """The git commit of Candor's source below `root`, with "-dirty" if tracked files were changed
    since.

    None if git is missing or `root` is no checkout of Candor's own repository. A copy inside
    another repository, installed or not, has no commit of its own, even if that repository tracks
    it.
    """
    if not _is_own(root):
        return None
    top = _git(root, "rev-parse", "--show-toplevel")
    if (
        top is None
        or Path(top).resolve() != root
        or _git(root, "ls-files", "--error-unmatch", _ONE_FILE) is None
    ):
        return None
    return _git(root, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def _is_own(root: Path) -> bool:
    """Whether the project in `root` is Candor and not one that contains a copy of its packages."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get(
            "project", {}
        )
    except (OSError, ValueError):
        return False
    return bool(project.get("name") == DISTRIBUTION)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails. Hooks set variables that name other repositories."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=own,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
