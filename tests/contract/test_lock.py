"""The lock in requirements/ fits pyproject.toml and names no package index."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ELSEWHERE = {"gpu", "bench"}  # extras for an environment of their own
UNPINNED = {"torch", "torchvision"}  # a machine takes the build that it can use
WITHOUT_CPU = [needs for needs in PROJECT["dependencies"] if not needs.startswith("onnxruntime>")]
EXTRAS = {
    name: needs for name, needs in PROJECT["optional-dependencies"].items() if name not in ELSEWHERE
}


def pins(file: str) -> dict[str, list[Requirement]]:
    """The pinned requirements of each package, by its canonical name."""
    found = defaultdict(list)
    for line in (LOCK / file).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            pin = Requirement(line.removesuffix("\\"))
            found[canonicalize_name(pin.name)].append(pin)
    return found


def of_extras(image: str) -> list[str]:
    """What an image installs beside the dependencies: its extras are in the Makefile."""
    (names,) = re.findall(
        rf"^{image}_EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return [needs for name in names.split() for needs in EXTRAS[name]]


def test_every_dependency_is_pinned_within_its_range() -> None:
    for file, asked in [
        (
            "constraints.txt",
            [*PROJECT["dependencies"], *(each for needs in EXTRAS.values() for each in needs)],
        ),
        ("serving.txt", [*PROJECT["dependencies"], *of_extras("SERVING")]),
        ("full.txt", [*PROJECT["dependencies"], *of_extras("SERVING"), *of_extras("FULL")]),
        (
            "gpu.txt",
            [*WITHOUT_CPU, *of_extras("SERVING"), *PROJECT["optional-dependencies"]["gpu"]],
        ),
        ("training.txt", [*PROJECT["dependencies"], *of_extras("TRAINING")]),
        ("torchserve.txt", [*PROJECT["dependencies"], *of_extras("TORCHSERVE")]),
        ("image.txt", ["setuptools>=77", "cyclonedx-bom"]),
    ]:
        pinned = pins(file)
        for requirement in map(Requirement, asked):
            name = canonicalize_name(requirement.name)
            if name in UNPINNED:
                assert name not in pinned
                continue
            assert pinned[name], f"{name} is not in requirements/{file}; run: make lock"
            for pin in pinned[name]:
                version = str(pin.specifier).removeprefix("==")
                assert requirement.specifier.contains(version, prereleases=True), (
                    f"{pin} is not {requirement}: make lock"
                )


@pytest.mark.parametrize("file", ["serving.txt", "full.txt", "training.txt", "torchserve.txt"])
def test_images_have_what_was_tested(file: str) -> None:
    wide = pins("constraints.txt")
    for name, narrow in pins(file).items():
        if name in ("setuptools", "wheel"):  # which belong to the environment
            continue
        assert {str(pin.specifier) for pin in narrow} <= {str(pin.specifier) for pin in wide[name]}


def test_a_gpu_replaces_the_runtime_and_nothing_else() -> None:
    gpu, serving = pins("gpu.txt"), pins("serving.txt")
    assert (gpu.keys() - serving.keys(), serving.keys() - gpu.keys()) == (
        {"onnxruntime-gpu"},
        {"onnxruntime"},
    )
    for name in gpu.keys() & serving.keys():
        assert [str(pin) for pin in gpu[name]] == [str(pin) for pin in serving[name]]
