"""What a reader has before the commands of a page, what its placeholders stand for, and what is not
run here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.documentation.commands import Command, without_settings


def nothing(*_: object) -> None:
    """What a walk does that needs no files, or whose commands show by themselves that they
    worked.
    """


@dataclass(frozen=True)
class Walk:
    """A page, or the part of it below one heading.

    Attributes:
        scene: makes the files that the reader has, in an empty folder.
        before, after: commands that are typed before and after those of the page.
        meanwhile: by the pattern of a command (`*` stands for anything), what is typed just before
            it.
        stands_for: what is typed in the place of a placeholder.
        not_run: by the pattern of a command, why it is not run. `spelling.problems` reads it all
            the same.
        check: looks at the folder and at what was printed.
        needs: programs without which the walk is skipped.
        needs_data: whether it is skipped without the folder of data sets.
        run_by: the test that runs this page in another way.
    """

    scene: Callable[[Path], None] = nothing
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    meanwhile: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stands_for: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Path, str], None] = nothing
    needs: Sequence[str] = ()
    needs_data: bool = False
    run_by: str | None = None

    def reason(self, command: Command) -> str | None:
        """Why a command is not run here; None if it is."""
        reasons = {} if command.is_python else {**self.not_run, **NEVER_RUN}
        return next((why for pattern, why in reasons.items() if self.fits(command, pattern)), None)

    def between(self, command: Command) -> Sequence[str]:
        """What is typed just before a command of the page."""
        return next(
            (lines for pattern, lines in self.meanwhile.items() if self.fits(command, pattern)), ()
        )

    @staticmethod
    def fits(command: Command, pattern: str) -> bool:
        """Whether the pattern is about this command, with or without the settings before it."""
        return fnmatchcase(command.typed, pattern) or fnmatchcase(
            without_settings(command.typed), pattern
        )

    def filled(self, typed: str) -> str:
        """The command as it is typed here."""
        for placeholder, value in self.stands_for.items():
            typed = typed.replace(placeholder, value)
        return typed


NEVER_RUN: Mapping[str, str] = {
    "docker *": "no images of others can be had here; the gate builds Candor's, "
    "tests/e2e/test_docs_container.py runs "
    "them, tests/e2e/test_compose.py starts the services of compose.yaml as processes",
    "kubectl [!k]*": "there is no cluster; tests/e2e/test_kubernetes_pods.py starts the pods as "
    "processes",
    "tar * kubectl *": "there is no cluster",
    "pip *": "the tests' environment is there; `make test-wheel` and "
    "tests/e2e/test_fresh_install.py install",
    "uv *": "the tests' environment is there; tests/contract/test_lock.py reads the locks",
    "apt-get *": "the gate installs Debian's packages (.ci/run)",
    "make *": "the gate runs make's targets (.ci/run)",
    "git *": "the tests run in the clone",
    ".venv/bin/pre-commit *": "it would change the clone in which the tests run",
    "ray *": "tests/e2e/test_ray_serving.py starts clusters",
}
