"""In a process of its own: imports, what is in the way, other systems, a reader who goes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from candor.import_conflicts import ROOMS
from model_store.store.store import Store
from serving.client import Client
from tests.builders.bundles import color_weights, foreign_onnx, jpeg, labeled_folder, linear, png
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import PATIENCE_S, child_pids, runs, wait_until

HEAVY = "{'torch', 'onnx', 'onnxruntime', 'starlette', 'sqlalchemy', 'numpy', 'pydantic'}"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import candor", HEAVY),
        ("import candor.command_line", HEAVY),
        # 0.3 s, for a server that meets DICOM
        ("import serving.process.server, serving.inference.predictor", "{'pydicom'}"),
    ],
)
def test_the_start_loads_no_heavy_library(statement: str, heavy: str) -> None:
    program = f"import sys; {statement}; print(*sorted({heavy} & sys.modules.keys()))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []


ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["def get_ece(): ...", "import a_package_that_is_not_installed"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    package = tmp_path / "calibration"
    package.mkdir()
    (package / "__init__.py").write_text(request.param)
    return package


def run_python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=folder, capture_output=True, text=True
    )


def test_the_command_line_says_in_one_sentence_which_package_is_in_the_way(foreign: Path) -> None:
    done = run_python("-m", "candor", "models", folder=foreign.parent)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candor: Candor needs its own package `calibration`")
    assert str(foreign / "__init__.py") in line
    assert "rename it" in line


@pytest.mark.parametrize(
    "use", ["candor.Measures", "candor.measure([[1.0]], [0])", "candor.open_predictor"]
)
def test_python_code_gets_an_import_error_that_says_so(foreign: Path, use: str) -> None:
    done = run_python("-c", f"import candor; {use}", folder=foreign.parent)
    assert done.returncode == 1
    assert "ForeignPackage: Candor needs its own package `calibration`" in done.stderr
    assert str(foreign / "__init__.py") in done.stderr


CHECK = "import sys, candor.import_conflicts as it; {}it.require_own_packages(('model_store',))"


def test_a_folder_without_init_does_not_hide_a_package_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "model_store" / "models").mkdir(parents=True)
    done = run_python("-S", "-c", CHECK.format(""), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_folders_named_like_packages_hide_nothing_where_candor_is_installed(tmp_path: Path) -> None:
    for name in ("candor", *ROOMS):
        (tmp_path / name).mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "import candor; candor.train"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_init_that_is_found_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_store" / "models").mkdir(parents=True)
    behind = f"sys.path.remove({str(ROOT)!r}); "  # Candor is found by a finder behind the path
    done = run_python("-S", "-c", CHECK.format(behind), folder=tmp_path)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("candor.import"))
    assert f"another one in {tmp_path / 'model_store'}: rename it" in line


def test_a_script_beside_a_training_of_its_own_uses_what_needs_no_training(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    script = tmp_path / "script.py"
    script.write_text(
        "import candor\nprint(candor.measure([[0.2, 0.8]] * 10, [1] * 8 + [0] * "
        "2).ece)\ncandor.train\n"
    )
    done = run_python(str(script), folder=tmp_path)
    assert float(done.stdout) < 1e-9
    assert "ForeignPackage: Candor needs its own package `training`" in done.stderr.splitlines()[-1]


START = "from candor.__main__ import main; sys.argv[0] = 'candor'; main()"
# The platform is another one only once the standard library is loaded, which asks for it too.
WINDOWS = (
    "import os; sys.modules |= dict.fromkeys(('fcntl', 'resource', 'uvloop')); "
    "del os.sched_getaffinity; import asyncio, candor.command_line, subprocess, zoneinfo; "
    f"sys.platform = 'win32'; {START}"
)
# Without what macOS has not, and with the limits that Linux enforces switched off.
MAC = (
    "import mmap, os; del os.sched_getaffinity, os.memfd_create, os.fdatasync, "
    "os.posix_fallocate, mmap.MADV_REMOVE; "
    f"import model_store.kernel; model_store.kernel.ENFORCES = False; {START}"
)
TABLE = "label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\na,0.4,0.6\nb,0.6,0.4\na,0.9,0.1\n" * 20


def command_on(program: str, *arguments: str) -> list[str]:
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    return [sys.executable, "-c", path + program, *arguments]


def run_on(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_on(program, *arguments), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.nightly
def test_predictions_are_calibrated_on_a_mac(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(TABLE)
    done = run_on(MAC, "calibrate", "predictions.csv", "--out", "calibrated", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("verb", ["models", "serve"])
def test_windows_gets_one_sentence(tmp_path: Path, verb: str) -> None:
    done = run_on(WINDOWS, verb, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "WSL 2" in line


def test_a_mac_serves_says_that_bounds_are_weaker_and_leaves_no_process(
    tiny_store: Store, tmp_path: Path
) -> None:
    options = ["--port", "0", "--store", str(tiny_store.root), "--ledger", "sqlite:///ledger.db"]
    environment = os.environ | {"CANDOR_SPOOL_LIMIT_BYTES": "65536"}  # with a spool
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command_on(MAC, "serve", *options),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        with Client(server.stdout.readline().split()[-1]) as client:
            wait_until(client.ready)
            assert client.predict(jpeg(size=(600, 600)), model="tiny")["version"] == 1
        below = child_pids(server.pid)
        assert below
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.stdout.close()
    wait_until(lambda: not any(map(runs, below)))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum("bounds are weaker" in line["message"] for line in lines) == 1


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def refusal(folder: Path, verb: str, settings: Mapping[str, str]) -> str:
    """What a refused start in an empty folder says; it leaves the folder empty."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    command = [sys.executable, "-m", "candor", verb]
    ended = subprocess.run(
        command,
        env=environment | settings,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert list(folder.iterdir()) == []
    return " ".join(ended.stderr.split())


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    for verb, host in (("serve", "300.1.1.1"), ("monitor", "192.0.2.1")):
        said = refusal(tmp_path, verb, {"CANDOR_HOST": host, "CANDOR_PORT": "0"})
        assert f"cannot listen on {host}:0:" in said
        assert said.endswith("Choose an address of this machine with --host or CANDOR_HOST.")


@pytest.mark.parametrize("verb", ["serve", "monitor"])
def test_a_port_that_is_taken(verb: str, taken: int, tmp_path: Path) -> None:
    said = refusal(tmp_path, verb, {"CANDOR_PORT": str(taken)})
    assert said.endswith(
        "Is another server running there? Choose another port with --port or CANDOR_PORT."
    )


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (
            "calibrate rows.csv --out out",
            "out/report.html out/report.json out/calibrator.json out/calibrator.onnx",
        ),
        ("calibrate rows.csv --json --out out", "out/report.json out/calibrator.json"),
        ("predict images --model tiny --csv answers.csv", "answers.csv"),
        ("predict images --model tiny --out scored", "scored/part-*.parquet"),
        ("report --ledger sqlite:///ledger.db --html report.html", "report.html"),
        ("ledger export answers.csv --ledger sqlite:///ledger.db", "answers.csv"),
        ("ledger backup copy.db --ledger sqlite:///ledger.db", "copy.db"),
        ("import model.onnx --pixels unit --data labeled --name new", "store/new/1/card.json"),
        (
            "train labeled --backbone small_conv --weights none --epochs 1 --out run",
            "run/config.json run/metrics.json",
        ),
    ],
)
def test_files_are_whole(tmp_path: Path, tiny_store: Store, command: str, files: str) -> None:
    rows = (f"{p},{1 - p:.2f},{'ab'[n % 10 < 3]}" for n in range(400) for p in (0.9 - n % 7 / 100,))
    (tmp_path / "rows.csv").write_text("\n".join(["p_a,p_b,label", *rows]))
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.png").write_bytes(png(number))
    record_unsure_answers(f"sqlite:///{tmp_path}/ledger.db", tiny_store.read("tiny").card)
    foreign_onnx(tmp_path / "model.onnx", linear("Softmax"), constants={"weights": color_weights()})
    labeled_folder(tmp_path / "labeled", images=40)
    reading, writing = os.pipe()
    os.close(reading)
    subprocess.run(
        [sys.executable, "-m", "candor", *command.split()],
        cwd=tmp_path,
        stdout=writing,
        stderr=writing,  # as of `2>&1 | head`: notes come before the files
        env=os.environ | {"CANDOR_STORE": str(tiny_store.root)},
        check=False,
    )
    os.close(writing)
    for file in files.split():
        [found] = tmp_path.glob(file)
        assert found.stat().st_size > 100, file
