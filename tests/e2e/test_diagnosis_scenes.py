"""Scenes in which a conclusion could mislead a quality manager, judged from outside by codes."""

from collections.abc import Iterator

import jsonschema_rs
import pytest

from tests.builders.processes import Process
from tests.scenes.judge import diagnose, grade, send
from tests.scenes.scenes import SCENES

SEEDS = (7, 8, 9)
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


@pytest.fixture(scope="module")
def schema(url: str) -> jsonschema_rs.Validator:
    components = send(url, "/openapi.json", None)["components"]
    wanted = {"$ref": "#/components/schemas/Diagnosis", "components": components}
    return jsonschema_rs.validator_for(wanted)


def faults(url: str, schema: jsonschema_rs.Validator, name: str, seed: int) -> list[str]:
    world = SCENES[name].build(seed)
    found = diagnose(url, f"{name}-{seed}", world)
    schema.validate(found)
    return grade(SCENES[name], world, found)


@pytest.mark.parametrize("name", QUICK)
def test_the_diagnosis_does_not_mislead(
    url: str, schema: jsonschema_rs.Validator, name: str
) -> None:
    assert faults(url, schema, name, 7) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", SCENES)
def test_no_run_is_dangerous_and_two_of_three_are_right(
    url: str, schema: jsonschema_rs.Validator, name: str
) -> None:
    """One may be wrong by chance: the watch of a calibrated model alarms in 1 % of 4,400 labels."""
    runs = [faults(url, schema, name, seed) for seed in SEEDS]
    assert not any(each.startswith("!") for run in runs for each in run), runs
    assert sum(map(bool, runs)) <= 1, runs
