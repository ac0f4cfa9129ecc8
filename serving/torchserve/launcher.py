"""The process of a TorchServe: launched in a session of its own, awaited, and ended with its
workers.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from serving.errors import TorchServeError
from serving.service_links import PREFIX
from serving.settings import Settings
from serving.torchserve.management import TorchServeManagement
from serving.torchserve.record import FILE, KEYS, TorchServeRecord, began, write_record

START_S: Final = 120.0
STOP_S: Final = 30.0
LOGS, OUTBOX, ERRORS = "logs", "outbox", "torchserve.err"
# Of the environment, what would lead TorchServe or its workers elsewhere.
_LEFT_OUT: Final = ("PYTHONPATH", "TS_CONFIG_FILE", "TEMP", "CLASSPATH")


def command_line(java: str, torchserve: Path, *, config: Path, archives: Path) -> list[str]:
    """Return the command that runs TorchServe, whose package is in the folder `torchserve`."""
    return [
        java,
        f"-Dmodel_server_home={torchserve.parent}",
        *("-cp", f"{torchserve}/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(config), "-s", str(archives), "-ncs"),
    ]


def launch(
    folder: Path, settings: Settings, record: TorchServeRecord, command: list[str]
) -> TorchServeRecord:
    """Start the process and write its record, which is `record` with the process in it."""
    # Sockets of the workers are in it, whose paths may have a hundred characters.
    scratch = Path(tempfile.mkdtemp(prefix="candor-ts-"))
    (folder / KEYS).unlink(missing_ok=True)
    with (folder / ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            [command[0], f"-Djava.io.tmpdir={scratch}", *command[1:]],
            cwd=folder,
            env=_environment(folder, settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # it writes the same to its log files, which it bounds
            stderr=errors,
            start_new_session=True,
        )
    started = replace(record, pid=process.pid, began=began(process.pid) or "ended", scratch=scratch)
    write_record(folder, started)
    return started


def _environment(folder: Path, settings: Settings) -> dict[str, str]:
    """Everything but Candor's settings, which hold secrets; of them, what the handler reads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _LEFT_OUT and not name.startswith(PREFIX)
    }
    kept |= {
        "LOG_LOCATION": str(folder / LOGS),
        "METRICS_LOCATION": str(folder / LOGS),
        "ORT_DISABLE_TELEMETRY": "1",
    }
    if settings.monitor_url is not None:
        outbox = settings.monitor_outbox or folder / OUTBOX
        kept |= {
            f"{PREFIX}MONITOR_URL": settings.monitor_url,
            f"{PREFIX}MONITOR_OUTBOX": str(outbox.resolve()),
        }
        if settings.monitor_token_file is not None:
            kept[f"{PREFIX}MONITOR_TOKEN_FILE"] = str(settings.monitor_token_file.resolve())
    return kept


def wait_until_healthy(folder: Path, record: TorchServeRecord) -> None:
    """Return when the TorchServe answers. Raises TorchServeError if it ends, or takes too long."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if not record.alive:
            raise TorchServeError(f"TorchServe ended while it started. {last_words(folder)}")
        with TorchServeManagement(folder, record) as management:
            if management.healthy():
                return
        time.sleep(0.1)
    raise TorchServeError(f"TorchServe did not answer within {START_S:g} s. {last_words(folder)}")


def last_words(folder: Path) -> str:
    """Return the last lines of its logs, as a sentence."""
    lines = []
    for path in (folder / LOGS / "ts_log.log", folder / ERRORS):
        with contextlib.suppress(OSError):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
    return f"Its log ({folder / LOGS}) ends with: {' / '.join(lines) or 'nothing'}"


def end(folder: Path, record: TorchServeRecord) -> None:
    """End the process of a record, if it is still the same, and its workers; then remove what it
    left.
    """
    if record.alive:
        _signal(record.pid, signal.SIGTERM)
        end_s = time.monotonic() + STOP_S
        while record.alive and time.monotonic() < end_s:
            time.sleep(0.05)
        if record.alive:
            _signal(record.pid, signal.SIGKILL)
    clear(folder, record)


def clear(folder: Path, record: TorchServeRecord) -> None:
    """Remove what a TorchServe that has ended left: workers, its temporary folder, its record."""
    for pid in record.worker_pids():
        _signal(pid, signal.SIGKILL)
    shutil.rmtree(record.scratch, ignore_errors=True)
    (folder / KEYS).unlink(missing_ok=True)
    (folder / FILE).unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
