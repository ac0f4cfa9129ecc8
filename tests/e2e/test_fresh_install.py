"""What is in the wheel, and how it gets along with other packages; test_plain_install.py uses it."""

import os
import re
import subprocess
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.release.environment import ROOT, FreshEnvironment, build_wheel, uv
from tests.release.source import copy_source

pytestmark = [pytest.mark.nightly, pytest.mark.programs("git")]

PACKAGES = {"calibration", "candor", "model_store", "monitoring", "serving", "training"}
# which may name a checkout
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


ADDRESS, REVISION = "https://forge.example/somebody/candor", "v1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a release at ADDRESS."""
    folder = tmp_path_factory.mktemp("release")
    source = copy_source(folder / "source", address=ADDRESS, revision=REVISION)
    return build_wheel(folder / "dist", source=source)


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """A virtual environment into which the wheel was installed without extras."""
    found = FreshEnvironment(tmp_path_factory.mktemp("fresh") / "venv")
    found.install(wheel)
    return found


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in held} == PACKAGES
    files = {path for room in PACKAGES for path in (ROOT / room).rglob("*") if path.is_file()}
    there = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert held == {path for path in there if not path.startswith("model_store/models/")}


def test_the_package_index_can_follow_every_link(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    described = HeaderParser().parsestr(archive.read(name).decode())
    assert described["Description-Content-Type"] == "text/markdown"
    links = re.findall(r'(?:\]\(|src=")([^)"]+)', described.get_payload())
    assert len(links) > 30
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(ADDRESS):
            kind, revision, path = urlsplit(link).path.split("/", 5)[3:]
            assert revision == REVISION
            assert (ROOT / path).is_file(), link
            assert kind == ("raw" if "/images/" in path else "blob"), link


@pytest.fixture(params=["top_level.txt", "no list"])
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Somebody else's wheel with a package `calibration`, as setuptools or others make it."""
    path, info = tmp_path / "somebody_elses-1.0-py3-none-any.whl", "somebody_elses-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: somebody-elses\nVersion: 1.0\n"
    files = {
        "calibration/__init__.py": "",
        "calibration/utils.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if request.param == "top_level.txt":
        files[f"{info}/top_level.txt"] = "calibration\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_stranger_with_the_same_package_is_refused_in_either_order(
    wheel: Path, stranger: Path, tmp_path: Path, first: str
) -> None:
    shared = FreshEnvironment(tmp_path / "venv")
    for package in (wheel, stranger) if first == "ours" else (stranger, wheel):
        shared.install("--no-deps", package)
    refused = candor(shared.python.parent, "--version", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{shared.python} -m pip uninstall somebody-elses" in refused.stderr


def test_the_hole_that_a_stranger_leaves_is_told(
    fresh: FreshEnvironment, wheel: Path, stranger: Path
) -> None:
    fresh.install("--no-deps", stranger)
    uv("pip", "uninstall", "--python", fresh.python, "somebody-elses")
    refused = candor(fresh.python.parent, "--version", folder=fresh.folder)
    assert (refused.returncode, "`calibration`" in refused.stderr) == (1, True)
    fresh.install("--no-deps", "--reinstall", wheel)
    assert candor(fresh.python.parent, "--version", folder=fresh.folder).returncode == 0


def candor(
    folder_of_programs: Path, *arguments: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    command = [folder_of_programs / "candor", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ALONE, capture_output=True, text=True, check=False
    )
