"""Scenes in which a conclusion could mislead a quality manager, judged from outside by codes."""

from collections.abc import Iterator

import pytest

from tests.builders.processes import Process
from tests.scenes.judge import diagnose, grade
from tests.scenes.scenes import SCENES

QUICK = (
    "calibrated",
    "two-of-eight-sites",
    "rare-class-900",
    "healed",
    "corrected",
    "labels-stopped",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scenes")
    running = Process("monitor", folder, ledger=f"sqlite:///{folder}/ledger.db").await_ready()
    yield running.url
    running.stop()


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in SCENES],
)
def test_the_diagnosis_does_not_mislead(url: str, name: str) -> None:
    world = SCENES[name].build(7)
    assert grade(SCENES[name], world, diagnose(url, name, world)) == []
