"""Environments of their own for programs whose packages pin what ours do not; each is made once,
below the cache.
"""

import os
import subprocess
import venv
from pathlib import Path


def own_environment(name: str, *requirements: str) -> Path:
    """The folder of the programs of an environment that has `requirements`."""
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "candor" / "clients" / name
    )
    programs, done = folder / "bin", folder / "installed"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        install = [programs / "python", "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(install, check=True, timeout=900)
        done.touch()
    return programs
