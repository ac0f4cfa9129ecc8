"""The commands of README, first steps, tutorials and guides are typed as they are printed."""

import os
from pathlib import Path

import pytest

from tests.documentation import script
from tests.documentation.walks import WALKS, commands_of_entry

pytestmark = [pytest.mark.nightly, pytest.mark.programs("curl", "openssl")]


@pytest.mark.parametrize("key", WALKS)
def test_the_commands_work_as_printed(key: str, tmp_path: Path) -> None:
    walk = WALKS[key]
    if walk.needs_data and not os.environ.get("CANDOR_DATA"):
        pytest.skip("needs the folder CANDOR_DATA")
    walk.scene(tmp_path)
    walk.check(tmp_path, script.run_walk(walk, commands_of_entry(key), tmp_path))


def test_free_ports_take_the_place_of_printed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a process may not have a network of its own."""
    monkeypatch.setattr(script, "_NETWORKS", ())
    key = "docs/tutorials/watch-another-model.md"
    WALKS[key].check(tmp_path, script.run_walk(WALKS[key], commands_of_entry(key), tmp_path))
