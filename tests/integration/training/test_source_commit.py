"""The commit on a card is Candor's: not that of a repository into which Candor was copied or
installed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.runs.source import source_commit

ROOT = Path(__file__).parents[3]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def copied(folder: Path) -> Path:
    """The packages that tell the commit, copied to `folder`."""
    for package in ("training", "calibration"):
        (folder / package).mkdir(parents=True)
        shutil.copy(ROOT / package / "__init__.py", folder / package)
    (folder / "training" / "runs").mkdir()
    for name in ("__init__.py", "source.py"):
        shutil.copy(ROOT / "training" / "runs" / name, folder / "training" / "runs")
    return folder


def commit_seen_from(folder: Path) -> str:
    """What a fresh process says that imports Candor from `folder`."""
    command = "from training.runs.source import source_commit; print(source_commit())"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("below", ["", "vendor/candor", ".venv/lib/site-packages"])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_copy_in_another_repository_has_no_commit(
    tmp_path: Path, below: str, tracked: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "hospital"\nversion = "1"\n')
    if not tracked:
        commit_all(tmp_path)
    folder = copied(tmp_path / below)
    if tracked:
        commit_all(tmp_path)
    assert commit_seen_from(folder) == "None"


def test_a_copy_with_its_project_file_inside_another_repository_has_none(tmp_path: Path) -> None:
    folder = copied(tmp_path / "candor")
    shutil.copy(ROOT / "pyproject.toml", folder)
    commit_all(tmp_path)
    assert commit_seen_from(folder) == "None"


def test_its_own_repository_has_one_and_a_change_shows(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    shutil.copy(ROOT / "pyproject.toml", folder)
    head = commit_all(folder)
    assert commit_seen_from(folder) == head
    with (folder / "calibration" / "__init__.py").open("a") as file:
        file.write("\n")
    assert commit_seen_from(folder) == f"{head}-dirty"


def test_a_hooks_variables_do_not_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_all(copied(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert source_commit() in (None, *(f"{git_head()}{end}" for end in ("", "-dirty")))


def git_head() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
