"""Kills, cut networks, full disks: what was acknowledged stays (`make soak`: SOAK_KILLS)."""

import os
from pathlib import Path

import pytest

from tests.soak.soak import DATABASE, SERVER, soak

pytestmark = pytest.mark.nightly

EVENTS = {"full disk", "triggered model"}  # with any database
KILLS = int(os.environ.get("SOAK_KILLS", "3"))


def test_sqlite_loses_nothing(tmp_path: Path) -> None:
    outcomes = soak(tmp_path, "sqlite", kills=KILLS, seed=1)
    assert {outcome.victim for outcome in outcomes} == {SERVER, *EVENTS, "deleted file"}
    assert outcomes[-1].failed, "nothing was refused: this tested nothing"


def test_postgresql_loses_nothing(tmp_path: Path, postgres: object) -> None:
    outcomes = soak(tmp_path, "postgresql", kills=KILLS, seed=1)
    events = {outcome.victim for outcome in outcomes} - {SERVER, DATABASE}
    assert events == {"network partition", *EVENTS}
