"""How the commands of README, first steps, tutorials and guides are typed: what a reader has before
them, what a placeholder stands for, and what is not run here. A page whose parts need other things
has an entry for each heading.

tests/contract/test_docs_commands.py says which page lacks an entry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final

from tests.documentation import scenes
from tests.documentation.commands import Command, commands_of, without_settings


def nothing(*_: object) -> None:
    """For a walk that needs no files, or whose commands show by themselves that they worked."""


@dataclass(frozen=True)
class Walk:
    """A page, or the part of it below one heading.

    Attributes:
        scene: makes the files that the reader has, in an empty folder.
        before: commands that are typed before those of the page.
        meanwhile: by the pattern of a command (`*` stands for anything), what is typed just before.
        stands_for: what is typed in the place of a placeholder.
        not_run: by the pattern of a command, why it is not run.
        check: looks at the folder and at what was printed.
        needs_data: whether it is skipped without the folder of data sets.
    """

    scene: Callable[[Path], None] = nothing
    before: Sequence[str] = ()
    meanwhile: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stands_for: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Path, str], None] = nothing
    needs_data: bool = False

    def runs(self, command: Command) -> bool:
        """Whether a command of the page is typed here."""
        skipped = () if command.is_python else (*self.not_run, *NEVER_RUN)
        return not any(self.fits(command, pattern) for pattern in skipped)

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


NEVER_RUN: Final[Mapping[str, str]] = {
    "docker *": "images are built by `make test-images`, which types docs/how-to/container.md",
    "kubectl [!k]*": "there is no cluster; tests/e2e/test_kubernetes_pods.py starts the pods",
    "tar * kubectl *": "there is no cluster",
    "pip *": "`make test-wheel` and tests/e2e/test_fresh_install.py install",
    "uv *": "the tests' environment is there",
    "apt-get *": "the gate installs Debian's packages (.ci/run)",
    "make *": "the gate runs make's targets (.ci/run)",
    "git *": "the tests run in the clone",
    "python3 -m venv*": "the tests' environment is there",
    ". .venv/bin/activate": "the tests' environment is there",
    "ray *": "tests/e2e/test_ray_serving.py starts clusters",
}
# Pages that are not typed here, and what stands for that.
ELSEWHERE: Final[Mapping[str, str]] = {
    "docs/how-to/compose.md": "tests/e2e/test_compose.py starts the services as processes",
    "docs/how-to/container.md": "tests/e2e/test_docs_container.py, on images that were built",
    "docs/how-to/fine-tune.md": "trains for hours; tests/integration/candor/test_train.py",
    "docs/how-to/notebook.md": "tests/e2e/test_docs_notebook.py",
    "docs/how-to/postgresql.md": "names a database; tests/e2e/test_operations.py has a real one",
    "docs/how-to/proxy.md": "installs a proxy; tests/e2e/test_proxy.py runs its configuration",
    "docs/how-to/python-client.md": "tests/e2e/test_docs_python_client.py",
    "docs/how-to/ray.md": "needs a cluster; tests/e2e/test_ray_serving.py and its like start one",
    "docs/how-to/replicas.md": "names a database; tests/e2e/test_kubernetes_pods.py has a real one",
}
MODEL: Final = {"MODEL": "chest", "VERSION": "2", "SERVER": "http://127.0.0.1:8080"}
S3: Final = "needs a bucket; tests/integration/serving/test_store_follow.py runs a local S3 server"
# Some 600 shifted images of the sample model, answered and labeled, so that the alarm is active.
ALARM: Final = (
    "candor serve",
    "candor traffic --publish --rate 60 --clean 2 --label-delay 0.2 & traffic=$!",
    "until command curl -sf http://127.0.0.1:8080/models/digits/report | python3 -c 'import json, "
    'sys; sys.exit(json.load(sys.stdin)["measures"]["n"] < 600)\' 2> /dev/null; do '
    'kill -0 $traffic; sleep 0.5; done; down "$traffic"',
)
SENT: Final = (
    "candor serve",
    "candor predict scan.png --url http://127.0.0.1:8080 --model chest --request-id filename",
    "printf 'file,label\\nscan.png,normal\\n' > given.csv",
    "candor feedback given.csv",
)
WALKS: Final[Mapping[str, Walk]] = {
    "README.md": Walk(
        scene=scenes.newcomer,
        not_run={"candor demo": "tests/e2e/test_demo.py runs it"},
        check=scenes.imported,
    ),
    "docs/first-steps/ml-engineer.md": Walk(
        scene=scenes.data,
        stands_for={"PATH": "images", "RUN": "runs/images-auto-seed-0"},
        needs_data=True,
        check=scenes.trained,
    ),
    "docs/first-steps/platform-engineer.md": Walk(scene=scenes.chest),
    "docs/first-steps/quality-manager.md": Walk(
        scene=scenes.chest, before=SENT, stands_for=MODEL, check=scenes.filed
    ),
    "docs/how-to/audits.md": Walk(scene=scenes.chest, before=SENT, stands_for=MODEL),
    "docs/how-to/canary.md": Walk(
        scene=scenes.chest,
        before=SENT,
        stands_for=MODEL,
        not_run={"candor promote * --wait*": "tests/e2e/test_rollout.py asks two servers"},
        meanwhile={
            "candor canary start*": ("candor promote chest 1",),
            "candor canary promote*": (
                "until curl -sf http://127.0.0.1:8080/readyz | grep -q '\"chest\":1'; do sleep "
                "0.1; done",
                "until curl -sf -H 'X-Candor-Canary: true' -H 'X-Request-Id: tried' --data-binary "
                "@scan.png "
                "http://127.0.0.1:8080/predictions/chest | grep '\"version\": *2'; do sleep 0.2; "
                "done",
                """curl -s -d '{"model": "chest", "request_id": "tried", "label": "normal"}' """
                "http://127.0.0.1:8080/feedback",
            ),
        },
        check=scenes.second_is_in_production,
    ),
    "docs/how-to/console.md": Walk(scene=scenes.chest),
    "docs/how-to/gpu.md": Walk(scene=scenes.chest),
    "docs/how-to/import-a-model.md": Walk(scene=scenes.foreign_pair),
    "docs/how-to/kubernetes.md": Walk(scene=scenes.clone),
    "docs/how-to/ledger.md": Walk(
        scene=scenes.chest,
        before=(*SENT, "candor ledger backup copy.db", 'down "$server_8080"'),
        stands_for={"FILE": "copy.db"},
        not_run={"psql*": "tests/e2e/test_operations.py restores a dump into a real PostgreSQL"},
    ),
    "docs/how-to/label-sources.md": Walk(scene=scenes.chest, before=SENT, stands_for=MODEL),
    "docs/how-to/on-an-alarm.md": Walk(
        scene=scenes.sample,
        before=ALARM,
        stands_for={
            **MODEL,
            "MODEL": "digits",
            "--since DAY --preview": "--since 2026-01-01 --last 400 --preview",
            "--since DAY": "--since 2026-01-01 --last 400 --accept-harm",
            "site=B,site=E": "camera=new --accept-harm",
        },
        meanwhile={
            "candor recalibrate * --for*": ("candor promote digits 1",),
            "curl -X POST*": ("candor promote digits 1",),
        },
    ),
    "docs/how-to/other-models.md": Walk(
        scene=scenes.answers_of_another,
        before=("candor monitor",),
        meanwhile={
            "candor predictions * --findings*": (
                "printf 'request_id,p_Edema,p_Mass\\na,0.9,0.2\\nb,0.1,0.4\\n' > answers.csv",
                "printf 'request_id,Edema,Mass\\na,1,0\\nb,,\\n' > labels.csv",
                "printf 'request_id,label\\nb,Mass\\n' > lists.csv",
            ),
        },
    ),
    "docs/how-to/prometheus.md": Walk(
        scene=scenes.chest, before=SENT, stands_for=MODEL, check=scenes.filed
    ),
    "docs/how-to/recalibrate-on-alarm.md": Walk(scene=scenes.chest, stands_for=MODEL),
    "docs/how-to/run-a-server.md": Walk(scene=scenes.chest),
    "docs/how-to/secure.md": Walk(
        scene=scenes.chest, stands_for=MODEL, check=scenes.tokens_are_made
    ),
    "docs/how-to/store.md": Walk(
        scene=partial(scenes.chest, versions=6),
        before=SENT,  # gc asks the ledger what has answered
        meanwhile={
            "candor models gc --dry-run": (
                "candor models retire chest 2 --undo",
                "candor models retire chest 3",
            ),
            "candor models verify --key*": (
                "for n in 1 4 5 6; do candor models sign chest $n --key signing.pem; done",
            ),
        },
        not_run={"candor export RUN*": S3, "candor serve --store s3*": S3},
        check=scenes.third_is_gone,
    ),
    "docs/tutorials/calibrate-predictions.md": Walk(check=scenes.calibrated),
    "docs/tutorials/close-the-loop.md": Walk(check=scenes.loop_is_closed),
    "docs/tutorials/demo.md": Walk(),
    "docs/tutorials/findings.md": Walk(check=scenes.findings_are_reported),
    "docs/tutorials/import-a-model.md": Walk(check=scenes.digits_are_imported),
    "docs/tutorials/watch-another-model.md": Walk(check=scenes.alarm_was_acknowledged),
}


def commands_of_entry(key: str) -> list[Command]:
    """The commands of a page, or of the part below the heading that the entry names."""
    page, _, heading = key.partition("#")
    return [command for command in commands_of(page) if heading in ("", command.heading)]


def gaps() -> list[str]:
    """What is missing in WALKS or ELSEWHERE, or stands there in vain, in words."""
    found = []
    for page in _typed_pages():
        keys = [key.partition("#")[2] for key in WALKS if key.partition("#")[0] == page]
        headings = {command.heading for command in commands_of(page)}
        if page not in ELSEWHERE and keys != [""] and set(keys) != headings:
            found.append(f"{page}: WALKS needs an entry for it, or one for each of {headings}")
    for key, walk in WALKS.items():
        commands = commands_of_entry(key)
        for pattern in (*walk.not_run, *walk.meanwhile):
            if not any(walk.fits(command, pattern) for command in commands):
                found.append(f"{key}: no command fits {pattern!r}")
        if not commands:
            found.append(f"{key}: has no commands")
    return found + [f"{page}: has no commands" for page in ELSEWHERE if not commands_of(page)]


def _typed_pages() -> list[str]:
    root = scenes.ROOT
    folders = (root / "docs" / name for name in ("first-steps", "how-to", "tutorials"))
    files = [root / "README.md", *(file for folder in folders for file in folder.glob("*.md"))]
    names = sorted(file.relative_to(root).as_posix() for file in files)
    return [name for name in names if commands_of(name)]
