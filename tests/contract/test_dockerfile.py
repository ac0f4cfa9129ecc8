"""What the Dockerfile shows of its promises; the rest is in tests/e2e/test_images.py."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from hosting.settings import Settings
from model_store.torchserve.handler import MONITOR_OUTBOX

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
TARGETS = ("serving", "gpu", "torchserve", "training")
SERVERS = ("serving", "gpu")


class Stage(NamedTuple):
    """A stage: its name, what it starts from, and its instructions in order."""

    name: str
    base: str
    lines: list[tuple[str, str]]


def parsed() -> list[Stage]:
    stages: list[Stage] = []
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE))
    for line in filter(str.strip, joined.splitlines()):
        instruction, _, argument = line.partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            stages.append(Stage(name, base, []))
        elif stages:
            stages[-1].lines.append((instruction, " ".join(argument.split())))
    return stages


STAGES = {stage.name: stage for stage in parsed()}


def whole(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage and of those that it starts from."""
    stage = STAGES[name]
    return [*(whole(stage.base) if stage.base in STAGES else []), *stage.lines]


def last(name: str, instruction: str) -> str | None:
    found = [argument for each, argument in whole(name) if each == instruction]
    return found[-1] if found else None


def environment(name: str) -> dict[str, str]:
    words = [
        word for each, argument in whole(name) if each == "ENV" for word in shlex.split(argument)
    ]
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("target", TARGETS)
def test_every_image_runs_as_a_plain_user_and_is_labeled(target: str) -> None:
    assert last(target, "USER") == "10001:10001"  # in numbers, which Kubernetes can tell from root
    labels = {
        word.split("=")[0]
        for each, text in whole(target)
        if each == "LABEL"
        for word in shlex.split(text)
    }
    known = ("title", "description", "licenses", "version", "revision")
    assert labels == {f"org.opencontainers.image.{name}" for name in known}
    program = "/opt/torchserve.sh" if target == "torchserve" else "candor"
    assert last(target, "ENTRYPOINT") == f'["{program}"]'


@pytest.mark.parametrize("target", TARGETS)
def test_every_package_comes_from_a_lock_with_hashes(target: str) -> None:
    build = [argument for each, argument in STAGES[f"{target}-build"].lines if each == "RUN"]
    assert not [command for command in build if re.search(r"\bpip install\b", command)]
    lock = (ROOT / "requirements" / f"{target}.txt").read_text()
    assert re.search(rf"packages\.sh requirements/(\$\{{LOCK\}}|{target})\.txt", " ".join(build))
    assert all(
        line.endswith("\\") for line in lock.splitlines() if line and not line.startswith(" ")
    )
    assert "--require-hashes" in (ROOT / "container/packages.sh").read_text()


@pytest.mark.parametrize("target", ["training", "torchserve"])
def test_torch_is_in_the_range_of_the_extra_and_for_cpus(target: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    asked = [
        each
        for each in extras[{"training": "train"}.get(target, target)]
        if re.match(r"torch(vision)?\b", each)
    ]
    arguments = dict(
        word.split("=", 1)
        for each, text in STAGES[f"{target}-build"].lines
        if each == "ARG"
        for word in shlex.split(text)
    )
    assert arguments["TORCH_PACKAGES"].split() == asked
    assert arguments["TORCH_INDEX"].endswith("/cpu")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_writes_into_its_volume_alone(target: str) -> None:
    """It runs with a read-only root file system, whatever the settings ask it to write."""
    variables = environment(target)
    known = {f"CANDOR_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in variables if name.startswith("CANDOR_")} <= {*known, MONITOR_OUTBOX}
    written = [
        variables.get(name, "off") for name in ("CANDOR_LEDGER", "CANDOR_SPOOL", "XDG_CACHE_HOME")
    ]
    paths = [value.removeprefix("sqlite:///") for value in written if value != "off"]
    assert target not in SERVERS or len(paths) == 3
    assert [path for path in paths if not path.startswith(f"{last(target, 'VOLUME')}/")] == []
