"""Every command that the documentation prints is typed, page by page, as it is printed
(tests/documentation).
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.documentation import script
from tests.documentation.walks import WALKS, commands_of_entry

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def is_run_here(key: str) -> bool:
    walk = WALKS[key]
    return walk.run_by is None and any(walk.reason(each) is None for each in commands_of_entry(key))


RUN = [key for key in WALKS if is_run_here(key)]


@pytest.mark.parametrize("key", RUN)
def test_the_commands_work_as_printed(key: str, tmp_path: Path) -> None:
    walk = WALKS[key]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    missing = [program for program in walk.needs if shutil.which(program, path=programs) is None]
    if missing or (walk.needs_data and not os.environ.get("CANDOR_DATA")):
        pytest.skip(f"needs {', '.join(missing) or 'the folder CANDOR_DATA'}")
    walk.scene(tmp_path)
    walk.check(tmp_path, script.run_walk(walk, commands_of_entry(key), tmp_path))


def test_free_ports_take_the_place_of_printed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a process may not have a network of its own."""
    monkeypatch.setattr(script, "_NETWORKS", ())
    key = "docs/tutorials/watch-another-model.md"
    WALKS[key].check(tmp_path, script.run_walk(WALKS[key], commands_of_entry(key), tmp_path))
