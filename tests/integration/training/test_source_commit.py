"""The commit on a card is Candor's, not that of a repository into which Candor was copied."""

import shutil
import subprocess
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


def commit_all(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


def copied(folder: Path, *, project: bool = False) -> Path:
    """The file that tells the commit, copied to `folder`, with Candor's project file if asked."""
    (folder / "training" / "runs").mkdir(parents=True)
    shutil.copy(ROOT / "training" / "runs" / "source.py", folder / "training" / "runs")
    if project:
        shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


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
    assert source_commit(folder) is None


def test_a_copy_with_its_project_file_inside_another_repository_has_none(tmp_path: Path) -> None:
    folder = copied(tmp_path / "candor", project=True)
    commit_all(tmp_path)
    assert source_commit(folder) is None


def test_its_own_repository_has_one_a_change_shows_and_a_hooks_variables_name_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = copied(tmp_path / "own", project=True), copied(tmp_path / "other")
    head, _ = commit_all(folder), commit_all(other)
    assert source_commit(folder) == head
    with (folder / "training" / "runs" / "source.py").open("a") as file:
        file.write("\n")
    assert source_commit(folder) == f"{head}-dirty"
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert source_commit(folder) == f"{head}-dirty"
