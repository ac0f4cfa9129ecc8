"""A short soak of each database; `make soak` runs the long one."""

from pathlib import Path

import pytest

from tests.soak.soak import DATABASE, SERVER, soak

pytestmark = pytest.mark.e2e


def test_sqlite_survives_kills_a_full_disk_and_a_deleted_file(tmp_path: Path) -> None:
    outcomes = soak(tmp_path, "sqlite", kills=2, seed=1, say=lambda _: None)
    assert {outcome.victim for outcome in outcomes} == {SERVER, "full disk", "deleted file"}
    assert outcomes[-1].failed, "nothing was refused: this tested nothing"


def test_postgresql_survives_kills_a_partition_and_a_full_disk(
    tmp_path: Path, postgres: object
) -> None:
    outcomes = soak(tmp_path, "postgresql", kills=3, seed=1, say=lambda _: None)
    assert {outcome.victim for outcome in outcomes} == {
        SERVER,
        DATABASE,
        "network partition",
        "full disk",
    }
