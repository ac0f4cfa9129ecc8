"""What TorchServe needs that Candor does not: Java, and the packages of the extra `torchserve`."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from model_store.installation import install_command
from serving.errors import TorchServeError

JAVA_RELEASE: Final = 17
PACKAGES: Final = ("ts", "torch", "yaml", "psutil")
_HOW = "on Debian and Ubuntu: apt-get install openjdk-17-jre-headless"


def find_java() -> str:
    """Return the path of a Java that TorchServe runs on. Raises TorchServeError, which says how to
    get one.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME is {home}, which has none" if home else "there is no `java` on PATH"
        raise TorchServeError(f"TorchServe needs Java {JAVA_RELEASE} or later, and {where}; {_HOW}")
    release = java_release(java)
    if release is None or release < JAVA_RELEASE:
        found = "does not say its release" if release is None else f"is Java {release}"
        raise TorchServeError(
            f"TorchServe needs Java {JAVA_RELEASE} or later; {java} {found}; {_HOW}"
        )
    return java


def java_release(java: str) -> int | None:
    """Return the major release of a Java, None if it does not run or does not say."""
    try:
        ran = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', ran.stderr + ran.stdout)
    return int(found[1]) if found else None


def find_torchserve() -> Path:
    """Return the folder of the package `ts`. Raises TorchServeError if a package of the extra is
    missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    spec = find_spec("ts")
    if missing or spec is None or spec.origin is None:
        names = ", ".join(missing) or "ts"
        raise TorchServeError(
            f"TorchServe needs more packages ({names}): {install_command('torchserve')}"
        )
    return Path(spec.origin).parent
