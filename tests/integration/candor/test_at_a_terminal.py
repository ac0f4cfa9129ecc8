"""At a terminal of 80 columns verbs show figures whole and name what is next; a pipe is plain."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.monitored import record_unsure_answers


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "candor", *map(str, words)]


def at_a_terminal(*words: object) -> str:
    """All that a verb writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    started = subprocess.Popen(
        command(*words), stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    written = bytearray()
    try:
        while block := os.read(ours, 65_536):
            written += block
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(ours)
    assert started.wait() == 0
    return written.decode()


@pytest.mark.parametrize("verb", ["models", "calibrate", "recalibrate", "report"])
def test_a_terminal_gets_hints_and_a_pipe_only_text(
    verb: str, tiny_store: Store, tmp_path: Path
) -> None:
    url, file = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "answers.csv"
    record_unsure_answers(url, tiny_store.read("tiny").card)
    rows = [f"{0.81 + 0.001 * (n % 90):.3f},{'b' if n % 4 else 'a'}" for n in range(400)]
    file.write_text("\n".join(["prob_b,label", *rows]))
    words: tuple[object, ...] = {
        "models": ("models", "--store", tiny_store.root),
        "calibrate": ("calibrate", file),
        "recalibrate": ("recalibrate", "tiny", "--preview", "--store", tiny_store.root),
        "report": ("report", "tiny"),
    }[verb]
    words += () if verb in ("models", "calibrate") else ("--ledger", url)
    shown = at_a_terminal(*words)
    assert "…" not in shown
    assert ("Next: candor" in shown) == (verb != "recalibrate")  # a preview has nothing to promote
    for more in ((), ("--json",)):
        piped = subprocess.run(command(*words, *more), capture_output=True, check=True)
        plain = (piped.stdout + piped.stderr).decode().replace("\n", "")
        assert plain.isprintable()
        assert "Next:" not in plain
