"""What this installation is: how it gets an extra, its cores, and limits for its children."""

import os
import re
import shlex
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from calibration import DISTRIBUTION
from candor.import_conflicts import OWN
from model_store import installation
from model_store.installation import (
    EXTRA_MODULES,
    extra_of,
    install_command,
    requirements,
    typed_command,
    usable_cores,
)
from model_store.kernel import ChildWatch

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_distribution_has_one_name_everywhere() -> None:
    assert PROJECT["name"] == DISTRIBUTION == OWN != "candor"


def test_a_checkout_is_named_by_its_folder() -> None:
    command = shlex.split(install_command("train"))
    assert command == [sys.executable, "-m", "pip", "install", "-e", f"{ROOT}[train]"]


def test_another_installation_is_told_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [
        "numpy>=1.26",
        'pyarrow>=17; extra == "parquet"',
        "psycopg[binary]>=3.2; extra == 'postgres'",
    ]
    monkeypatch.setattr(installation, "requires", lambda _: listed)
    assert shlex.split(install_command("postgres", root=tmp_path))[4:] == ["psycopg[binary]>=3.2"]
    assert requirements("parquet") == ["pyarrow>=17"]
    assert requirements("train") == []


def test_a_command_to_paste_works_without_an_active_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "a checkout" / ".venv" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(typed_command("serve")) == [
        str(programs / "python"),
        "-m",
        "candor",
        "serve",
    ]
    (programs / "candor").touch(mode=0o755)
    assert shlex.split(typed_command("serve")) == [str(programs / "candor"), "serve"]
    monkeypatch.chdir(tmp_path / "a checkout")
    assert (
        typed_command("serve", "--store", "my models")
        == ".venv/bin/candor serve --store 'my models'"
    )
    (tmp_path / "candor").touch(mode=0o755)  # somebody else's program
    assert typed_command("serve") == ".venv/bin/candor serve"
    monkeypatch.setenv("PATH", str(programs))
    assert typed_command("serve") == "candor serve"


@pytest.mark.parametrize("extra", EXTRA_MODULES)
def test_an_extra_is_known_by_the_modules_of_its_packages(extra: str) -> None:
    others = {
        "pyopenssl": "OpenSSL",
        "scikit-learn": "sklearn",
    }
    listed = [re.split(r"[<>=\[]", each)[0] for each in PROJECT["optional-dependencies"][extra]]
    names = [others.get(name, name.replace("-", "_")) for name in listed]
    brought = {"opentelemetry" if name.startswith("opentelemetry") else name for name in names}
    assert brought == set(EXTRA_MODULES[extra])
    assert {extra_of(f"{module}.inside") for module in brought} == {extra}


def test_what_no_extra_brings_is_no_extra_of_candor() -> None:
    assert extra_of("nowhere") is None


def test_cores_are_those_of_this_process_and_where_that_is_not_told_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_memory_taken_under_the_next_limit_is_not_held_against_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child may take 100 bytes once its limit is 1,000, which comes while it is looked at."""
    watch = ChildWatch()
    watch.limit(50)
    raise_limit = threading.Thread(target=watch.limit, args=(1_000,))

    def memory_bytes(_: ChildWatch) -> int:
        raise_limit.start()
        raise_limit.join(0.2)  # as long as it takes where nothing holds it up
        return 10 if raise_limit.is_alive() else 100

    monkeypatch.setattr(ChildWatch, "memory_bytes", property(memory_bytes))
    watch._look_once()
    raise_limit.join()
    watch.close()
    os.close(watch.child_end)
    assert not watch.killed
