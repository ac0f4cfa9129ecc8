"""A fresh virtual environment, made by uv, and what is installed into it. Standard library alone.

uv would choose a build of torch with CUDA, of 3 GB. So the build of the environment that runs this
is taken, such as 2.13.0+cpu; if UV_TORCH_BACKEND is set, that says which.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TORCH: Final = ("torch", "torchvision")
_CUDA: Final = re.compile(r"^(nvidia-|cuda-|triton==)", re.MULTILINE)


class FreshEnvironment:
    """An environment in an emptied `folder`. Methods raise SystemExit on failure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        uv("venv", "--python", sys.executable, self.folder)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def resolve(
        self,
        name: str,
        *arguments: str | Path,
        extras: Sequence[str],
        overrides: Path | None = None,
    ) -> Path:
        """A file of the releases that uv chooses for Candor and `extras`; `overrides` win."""
        found = self.folder / name
        chosen = overrides or self._write(
            "torch.txt", [] if "UV_TORCH_BACKEND" in os.environ else torch_pins()
        )
        options = [option for extra in extras for option in ("--extra", extra)]
        uv(
            *(
                "pip",
                "compile",
                "--python",
                self.python,
                "--no-header",
                "--no-strip-extras",
                *options,
                *arguments,
            ),
            *("--override", chosen, "--output-file", found, ROOT / "pyproject.toml"),
        )
        if _CUDA.search(found.read_text()):
            sys.exit(
                f"{found} asks for CUDA packages, of 3 GB: install a CPU build of torch here, or "
                "set UV_TORCH_BACKEND"
            )
        return found

    def install(self, *arguments: str | Path) -> None:
        """Install what the arguments of `uv pip install` say."""
        uv("pip", "install", "--python", self.python, *arguments)

    def run(self, *command: str | Path, folder: Path, **variables: str) -> None:
        """Run a command in `folder` with the environment's programs and `variables`."""
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            command, cwd=folder, env=inherited | {"PATH": path} | variables, check=False
        )
        if done.returncode:
            sys.exit(done.returncode)

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path


def build_wheel(folder: Path, *, source: Path = ROOT) -> Path:
    """Build the sdist of `source` in an empty `folder`, and its wheel; the wheel's path."""
    uv("build", "--clear", "--out-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def torch_pins() -> list[str]:
    """The builds of torch that the environment of this process has. Exits if it has none."""
    try:
        return [f"{name}=={version(name)}" for name in TORCH]
    except PackageNotFoundError:
        sys.exit(
            "this environment has no torch whose build could be taken: set UV_TORCH_BACKEND=cpu"
        )


def uv(*arguments: str | Path) -> None:
    """Run uv quietly, with pip's indexes. Raises SystemExit if it fails."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("uv", path=beside)
    if program is None:
        sys.exit("uv is missing: python -m pip install uv")
    links = {
        "UV_FIND_LINKS": os.environ.get(
            "UV_FIND_LINKS", os.environ.get("PIP_FIND_LINKS", "").replace(" ", ",")
        )
    }
    done = subprocess.run(
        [program, "--quiet", *arguments], cwd=ROOT, env=os.environ | links, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
