"""The packages of the image for GPUs, which cannot be built where its base is not: they resolve for
that base.

The index is asked for every package of the lock, for a wheel that Ubuntu 24.04 on x86-64 can
install, and for the hashes of its files. Nothing is downloaded.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly

LOCK = Path(__file__).parents[2] / "requirements/gpu.txt"
UBUNTU_24_04 = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_39")
PINS_AND_HASHES = re.compile(r"^(\S+==\S+)(.*?)\\\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)


def uv(*words: str | Path) -> str:
    """What `uv pip` said on both streams."""
    command = [Path(sys.executable).with_name("uv"), "pip", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def hashes(lock: str) -> dict[str, set[str]]:
    """The hashes of each pin."""
    return {
        pin: set(re.findall(r"sha256:\w{64}", text))
        for pin, _, text in PINS_AND_HASHES.findall(lock)
    }


def test_every_package_has_a_wheel_for_the_base_and_none_is_missing(tmp_path: Path) -> None:
    options = (
        "--dry-run",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--target",
        tmp_path / "target",
    )
    said = uv("install", *options, *UBUNTU_24_04, "--requirement", LOCK)
    installed = re.findall(r"^ \+ (\S+==\S+)$", said, re.MULTILINE)
    assert set(installed) <= hashes(LOCK.read_text()).keys()
    names = {pin.split("==")[0] for pin in installed}
    assert {"onnxruntime-gpu", "numpy", "psycopg-binary", "cryptography"} <= names
    assert "onnxruntime" not in names


def test_its_hashes_are_those_of_the_index(tmp_path: Path) -> None:
    locked = hashes(LOCK.read_text())
    bare = tmp_path / "pins.txt"
    bare.write_text("\n".join(re.findall(r"^(\S+==.*?) \\$", LOCK.read_text(), re.MULTILINE)))
    options = (
        "--universal",
        "--python-version",
        "3.11",
        "--no-deps",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
    )
    there = hashes(uv("compile", "--quiet", *options, bare))
    assert locked.keys() == there.keys()
    assert {pin: found - there[pin] for pin, found in locked.items() if found - there[pin]} == {}
