"""The packages of the image for GPUs, which cannot be built where its base is not: each has a wheel
for that base in the index. Nothing is downloaded.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly

LOCK = Path(__file__).parents[2] / "requirements/gpu.txt"
UBUNTU_24_04 = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_39")


def test_every_package_has_a_wheel_for_the_base(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("uv"), "pip", "install", "--dry-run"]
    command += ["--require-hashes", "--only-binary", ":all:", "--target", tmp_path, *UBUNTU_24_04]
    done = subprocess.run(
        [*command, "--requirement", LOCK], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    installed = re.findall(r"^ \+ (\S+)==\S+$", done.stdout + done.stderr, re.MULTILINE)
    assert {"onnxruntime-gpu", "numpy", "psycopg-binary", "cryptography"} <= set(installed)
    assert "onnxruntime" not in installed
