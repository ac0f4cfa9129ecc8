"""The wheel without extras in a new environment, as a server has it: every verb that does not train
works, and what needs an extra names that one.
"""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from candor.import_conflicts import ROOMS
from model_store.installation import EXTRA_MODULES
from tests.builders.processes import PATIENCE_S, Process, environment
from tests.documentation import scenes
from tests.release.environment import ROOT, FreshEnvironment, uv

SOURCE = ("candor", *ROOMS)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FILES = ("pyproject.toml", "README.md", "LICENSE")
# In this order, on one store and one ledger. SERVER stands for the address of a server on both.
COMMANDS = (
    "calibrate predictions.csv --out calibrated",
    "import classifier.onnx --pixels unit --data labeled --name foreign --promote",
    "doctor",
    "config show",
    "data check labeled",
    "predict scan.png --model chest",
    "predict new --url SERVER --model foreign --request-id filename",
    "feedback labels.csv --url SERVER --model foreign",
    "predictions answers.csv --url SERVER --model elsewhere --classes healthy,mild,severe",
    "report foreign",
    "report foreign --html report.html",
    "report foreign --url SERVER",
    "models",
    "models list",
    "models show chest 2",
    "models history chest",
    "models diff chest 1 2",
    "models verify",
    "models alias chest staging 3",
    "models alias chest staging --remove",
    "models samples chest scan.png",
    "models gc --dry-run",
    "promote chest 2 --why better",
    "models rollback chest --why worse",
    "canary start chest 2",
    "canary status chest",
    "canary abort chest",
    "models retire chest 3 --why wrong",
    "ledger check",
    "ledger export answers.out.csv",
    "ledger backup copy.db",
    "traffic --url SERVER --publish --once --rate 200 --clean 1 --label-delay 0.2",
    "recalibrate digits --preview --min-labels 20",  # the alarm may come before the hundredth label
)
FUNCTIONS = """
import candor, numpy as np
from pathlib import Path
p, labels = np.tile([[0.7, 0.3], [0.2, 0.8]], (50, 1)), np.tile([0, 1], 50)
assert candor.measure(p, labels).ece > 0
candor.calibrate(p, labels)
print(candor.report("foreign"))
candor.open_predictor(candor.Store(Path("model_store/models")).read("chest", 1))
"""
NEEDS = {
    "train labeled": "train",
    "export runs/first": "train",
    "experiment compare --preset smoke": "train",
    "demo --once": "train",
    "import weights.safetensors --architecture timm/resnet18": "train",
    "models sign chest 1 --key signing.pem": "signing",
    "models list --store s3://bucket/models": "s3",
    "models list --store memory://models": "remote",
    "ledger export answers.parquet": "parquet",
    "calibrate predictions.parquet": "parquet",
    "report chest --ledger postgresql+psycopg://candor@127.0.0.1/ledger": "postgres",
    "CANDOR_TRACES=true serve --port 0": "traces",
}
# Runs the commands that are its argument, one after the other; writes code and output of each.
RUN = """
import contextlib, io, json, os, sys
from candor.command_line import main
for words in json.loads(sys.argv.pop()):
    os.environ |= dict(each.split("=") for each in words if each.startswith("CANDOR_"))
    sys.argv = ["candor", *(each for each in words if not each.startswith("CANDOR_"))]
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
    print(json.dumps([code, output.getvalue()]))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("plain")
    for name in SOURCE:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=_left_out)
    for name in FILES:
        shutil.copy2(ROOT / name, folder / "source" / name)
    uv("build", "--wheel", "--out-dir", folder / "dist", folder / "source")
    (wheel,) = (folder / "dist").glob("*.whl")
    plain = FreshEnvironment(folder / "venv")
    plain.install("--constraint", ROOT / "requirements/constraints.txt", wheel)
    return plain.python.parent


def _left_out(folder: str, names: Sequence[str]) -> list[str]:
    return [each for each in names if each == "__pycache__" or (folder, each) == _MODELS]


_MODELS = (str(ROOT / "model_store"), "models")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the README and of the guides has."""
    place = tmp_path_factory.mktemp("reader")
    for scene in (scenes.chest, scenes.answers_of_another, scenes.newcomer):
        scene(place)
    (place / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return place


@pytest.fixture(scope="module")
def server(programs: Path, folder: Path) -> Iterator[Process]:
    started = Process(
        "serve", folder, command=(str(programs / "candor"), "serve"), variables=_variables(folder)
    )
    yield started.await_ready()
    started.stop()


def _variables(folder: Path) -> dict[str, str]:
    """Nothing of the checkout is found; store and ledger are those of the folder."""
    return {
        "PYTHONPATH": "",
        "CANDOR_STORE": str(folder / "model_store/models"),
        "CANDOR_LEDGER": f"sqlite:///{folder}/candor.db",
    }


def run(*command: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env=environment() | _variables(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_no_package_of_an_extra_came_along(programs: Path, folder: Path) -> None:
    modules = [module for each in EXTRA_MODULES.values() for module in each]
    code = f"import importlib.util as u; print([m for m in {modules} if u.find_spec(m)])"
    assert run(programs / "python", "-c", code, folder=folder).stdout == "[]\n"


def each_of(
    commands: Sequence[str], programs: Path, folder: Path
) -> Iterator[tuple[str, int, str]]:
    """A command, its code and its output: all run in one process, which takes a tenth of the time."""
    words = json.dumps([each.split() for each in commands])
    done = run(programs / "python", "-c", RUN, words, folder=folder)
    assert done.returncode == 0, done.stderr
    for command, line in zip(commands, done.stdout.splitlines(), strict=True):
        yield command, *json.loads(line)


def test_a_verb_that_does_not_train_needs_no_extra(
    request: pytest.FixtureRequest, programs: Path, folder: Path
) -> None:
    first = next(n for n, each in enumerate(COMMANDS) if "SERVER" in each)
    wrong = [each for each in each_of(COMMANDS[:first], programs, folder) if each[1] != 0]
    url = request.getfixturevalue("server").url
    rest = [each.replace("SERVER", url) for each in COMMANDS[first:]]
    wrong += [each for each in each_of(rest, programs, folder) if each[1] != 0]
    assert not wrong


def test_the_same_holds_in_python(programs: Path, folder: Path, server: Process) -> None:
    done = run(programs / "python", "-c", FUNCTIONS, folder=folder)
    assert done.returncode == 0, done.stderr


def test_a_monitor_serves_its_pages(programs: Path, folder: Path, tmp_path: Path) -> None:
    command = (str(programs / "candor"), "monitor")
    monitor = Process("monitor", tmp_path, command=command, variables=_variables(folder))
    try:
        page = monitor.await_ready().client.get("/models/foreign/report/page")
    finally:
        monitor.stop()
    assert (page.status_code, "</html>" in page.text) == (200, True)


def test_an_error_names_the_extra_that_is_needed_and_no_other(programs: Path, folder: Path) -> None:
    for command, code, said in each_of([*NEEDS], programs, folder):
        assert (code, said.count("Traceback")) == (1, 0), (command, said)
        (install,) = re.findall(r"-m pip install (.+)$", said, re.MULTILINE)
        assert sorted(shlex.split(install)) == sorted(EXTRAS[NEEDS[command]]), command
