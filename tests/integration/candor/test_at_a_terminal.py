"""Verbs at a terminal: progress and whole figures; a pipe is plain."""

import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import labeled_folder
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import Process, candor_here

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
QUICK = shlex.split(
    "--recipe fixed --backbone small_conv --loss ce --batch-size 16 --epochs 12 --seed 1 "
    "--image-size 32"
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "candor", *map(str, words)]


def at_a_terminal(*words: object, columns: int = 80, stop_at: str = "", code: int = 0) -> str:
    """All that a verb writes to a terminal, where Ctrl-C is typed once `stop_at` is shown."""
    keyboard, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    started = subprocess.Popen(
        command(*words),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "NO_COLOR": ""},
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    written = bytearray()
    try:
        while block := os.read(keyboard, 65_536):
            written += block
            if stop_at and stop_at.encode() in written:
                os.write(keyboard, b"\x03")
                stop_at = ""
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(keyboard)
    shown = written.decode()
    assert started.wait() == code, shown
    return shown


def _take_terminal() -> None:
    """A shell's background jobs, such as these tests may be, ignore Ctrl-C, and so would a verb."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def in_a_pipe(*words: object) -> str:
    done = subprocess.run(command(*words), capture_output=True, check=True)
    return (done.stdout + done.stderr).decode()


def to_a_file(*words: object) -> str:
    done = candor_here(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def lines_left(shown: str) -> list[str]:
    """The lines that stay on a terminal: what a bar or a spinner drew is erased."""
    after = shown.rpartition("\x1b[?25h")[2]  # the cursor comes back when the last one ends
    return [_CONTROL.sub("", line).strip("\r").rpartition("\r")[2] for line in after.split("\n")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labeled_folder(tmp_path_factory.mktemp("data") / "images", images=40)


def test_the_way_from_images_to_a_calibrated_version(images: Path, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "store"
    onnx, kept = store / "own" / "1" / "model.onnx", ("--store", store)
    walk = {
        "3/3": ("train", images, *QUICK, "--out", run),
        "Writing and checking": ("export", run, "--name", "own", "--anyway", *kept),
        "inspect and check": ("import", onnx, "--data", images, "--name", "theirs", *kept),
    }
    for progress, words in walk.items():
        shown = at_a_terminal(*words, columns=40)
        left = lines_left(shown)
        assert progress in shown
        assert not any("━" in line or progress in line for line in left)
        assert "…" not in shown
        prose = [line for line in left if "Next: candor" not in line]
        assert len(prose) < len(left)
        assert max(map(len, prose)) <= 40


@pytest.mark.parametrize("verb", ["models", "calibrate", "recalibrate", "report"])
def test_a_terminal_gets_hints_and_a_pipe_only_text(
    verb: str, tiny_store: Store, tmp_path: Path
) -> None:
    url, file = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "answers.csv"
    rows = [f"{0.81 + 0.001 * (n % 90):.3f},{'b' if n % 4 else 'a'}" for n in range(400)]
    file.write_text("\n".join(["prob_b,label", *rows]))
    words: tuple[object, ...] = {
        "models": ("models", "--store", tiny_store.root),
        "calibrate": ("calibrate", file),
        "recalibrate": ("recalibrate", "tiny", "--preview", "--store", tiny_store.root),
        "report": ("report", "tiny"),
    }[verb]
    if verb in ("recalibrate", "report"):
        record_unsure_answers(url, tiny_store.read("tiny").card)
        words += ("--ledger", url)
    shown = at_a_terminal(*words, columns=40)
    assert "…" not in shown
    assert "Next:" not in shown  # what has a command: test_report.py
    assert max(map(len, lines_left(shown))) <= 40
    assert ("Fitting tiny" in shown) == (verb == "recalibrate")
    read = [in_a_pipe(*words)] if verb == "models" else []  # a process of its own, so once
    for plain in (*read, to_a_file(*words), to_a_file(*words, "--json")):
        plain = plain.replace("\n", "")
        assert plain.isprintable()
        assert "Next:" not in plain


def test_an_upload_shows_how_far_it_is(tmp_path: Path) -> None:
    monitor = Process("monitor", tmp_path, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    file = tmp_path / "answers.csv"
    rows = [f"eye-{number},a,0.9" for number in range(400)]
    file.write_text("\n".join(["request_id,predicted,confidence", *rows]))
    words = ("predictions", file, "--url", monitor.url, "--model", "eye", "--classes", "a,b")
    shown = at_a_terminal(*words)
    monitor.stop()
    assert "400/400" in shown
    assert "accepted: 400" in lines_left(shown)
    assert not any("━" in line for line in lines_left(shown))


def test_ctrl_c_leaves_no_trace(images: Path, tmp_path: Path) -> None:
    words = ("train", images, *QUICK, "--epochs", 100_000, "--out", tmp_path / "run")
    shown = at_a_terminal(*words, stop_at="train ce", code=130)
    assert "Traceback" not in shown
    assert "━" not in "".join(lines_left(shown))
