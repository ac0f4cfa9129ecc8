"""The definition of CI for a public forge is valid, does what `.ci/run` does, and may do no more
than it must.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


def commands(path: Path) -> list[str]:
    return [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize(
    "check",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
        ["zizmor", "--offline", "--no-progress", *map(str, WORKFLOWS)],
    ],
    ids=lambda check: check[0],
)
def test_the_forge_would_take_it(check: list[str]) -> None:
    program = Path(sys.executable).parent / check[0]
    found = subprocess.run([program, *check[1:]], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@workflows
def test_actions_are_pinned_by_commit_and_may_only_read(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    assert all(
        re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) and "# v" in tag for name, tag in used
    )
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    writing = {
        name for name, job in jobs(path).items() if "write" in job.get("permissions", {}).values()
    }
    assert writing <= {"draft"}


@workflows
def test_its_targets_exist(path: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {
        name for line in commands(path) for name in re.findall(r"\bmake ([a-z-]+)\b", line)
    } <= {*targets}


def test_it_does_what_the_gate_does_and_tries_other_releases() -> None:
    found = commands(ROOT / ".github" / "workflows" / "ci.yml")
    assert ".ci/run" in found
    assert 'python -m tests.release "$RELEASES"' in found
    tried = jobs(ROOT / ".github" / "workflows" / "ci.yml")["releases"]["strategy"]["matrix"][
        "include"
    ]
    assert {each["releases"] for each in tried} == {"lowest", "signing", "newest"}
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert sorted({each["python"] for each in tried}) == named


def test_the_gate_tries_a_few_tests_at_both_ends() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    assert all(f'make test-{end} TESTS="$few"' in gate for end in ("lowest", "newest"))
    (line,) = re.findall(r"^few=(?:.*\\\n)*.*", gate, re.MULTILINE)
    named = subprocess.run(
        ["bash", "-c", f"{line}\necho $few"], capture_output=True, text=True, check=True
    ).stdout
    assert len(named.split()) > 5
    assert all((ROOT / path).exists() for path in named.split())


def test_the_version_is_written_in_one_place() -> None:
    """Other files may repeat it only where a format asks for it, and then it is the same."""
    for room in ("calibration", "candor", "model_store", "monitoring", "serving", "training"):
        for path in (ROOT / room).rglob("*.py"):
            assert not re.search(r"^__version__ = ", path.read_text(), re.MULTILINE), path
    tagged = [
        (path, str(image["newTag"]))
        for path in (ROOT / "deploy").rglob("kustomization.yaml")
        for image in yaml.safe_load(path.read_text()).get("images", [])
    ]
    assert tagged
    assert [path for path, tag in tagged if tag != VERSION] == []


def test_a_released_version_has_its_date_in_the_changelog() -> None:
    headings = re.findall(r"^## \[(.+?)\](.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in headings[1:])
