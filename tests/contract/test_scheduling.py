"""`make test` makes what the tests of a file share once, though it runs in several processes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = """
def pytest_xdist_make_scheduler(config, log):
    from tests.builders.scheduling import SharingScheduling
    return SharingScheduling(config, log)
"""
SHARING = """
import pathlib
import pytest

@pytest.fixture(scope="module")
def shared():
    with pathlib.Path(__file__).with_name("made").open("a") as stream:
        stream.write("once ")

@pytest.mark.parametrize("number", range(8))
def test_it(shared, number):
    pass
"""


@pytest.mark.slow
def test_a_fixture_that_a_file_shares_is_made_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOK)
    (tmp_path / "test_sharing.py").write_text(SHARING)
    options = ["-n", "2", "-p", "no:schemathesis", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "made").read_text() == "once "
