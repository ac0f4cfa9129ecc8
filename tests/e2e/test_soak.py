"""A short soak of each database; `make soak` runs the long one."""

from pathlib import Path

import pytest

from tests.soak.soak import soak

pytestmark = pytest.mark.e2e


def test_sqlite_survives_kills_of_the_server(tmp_path: Path) -> None:
    assert len(soak(tmp_path, "sqlite", kills=2, seed=1, say=lambda _: None)) == 2


def test_postgresql_survives_kills_of_server_and_database(tmp_path: Path, postgres: object) -> None:
    outcomes = soak(tmp_path, "postgresql", kills=3, seed=1, say=lambda _: None)
    assert {outcome.victim for outcome in outcomes} == {"server", "database"}
