"""What `candor torchserve` refuses before it starts anything, and whose process it never touches.
Without Java.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.command_line import app
from model_store.errors import NotInStore
from model_store.store.store import Store
from serving.errors import TorchServeError
from serving.settings import Settings
from serving.torchserve import instance, java, launcher, record
from serving.torchserve.configuration import Ports, choose_ports
from serving.torchserve.record import TorchServeRecord, began, read_record, write_record
from tests.builders.processes import PATIENCE_S

PORTS = Ports(1, 2, 3, 4, 5)


def program(folder: Path, name: str, text: str) -> Path:
    """A program in a folder of its own, for PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return folder


def of_process(pid: int, folder: Path, *, moment: str | None = None) -> TorchServeRecord:
    """A record of this process, which began at `moment`, else when it really did."""
    return TorchServeRecord(
        ports=PORTS,
        store=folder / "store",
        models=(),
        workers=1,
        batch_delay_ms=1,
        tokens=True,
        pid=pid,
        began=moment or began(pid) or "",
        scratch=folder / "scratch",
    )


def test_without_java_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        TorchServeError, match=r"needs Java 17 or later, and there is no `java` on PATH; .*apt-get"
    ):
        java.find_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(TorchServeError, match=r"JAVA_HOME is .*jdk, which has none"):
        java.find_java()


@pytest.mark.parametrize(
    ("said", "release"),
    [
        ('openjdk version "17.0.9" 2023-10-17', 17),
        ('java version "1.8.0_391"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("Segmentation fault", None),
    ],
)
def test_an_old_java_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, release: int | None
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv(
        "PATH", str(program(tmp_path / "bin", "java", f"echo '{said}' >&2")), prepend=os.pathsep
    )
    assert java.java_release(str(tmp_path / "bin" / "java")) == release
    if release in (17, 21):
        assert java.find_java() == str(tmp_path / "bin" / "java")
    else:
        with pytest.raises(
            TorchServeError, match=f"is Java {release}" if release else "does not say its release"
        ):
            java.find_java()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(
        TorchServeError,
        match=r"needs more packages \(ts, torch, yaml, psutil\): .*pip install.*torchserve",
    ):
        java.find_torchserve()


def test_a_port_in_use_is_named() -> None:
    free = choose_ports(0)
    assert len(set(asdict(free).values())) == 5
    with (
        socket.create_server(("127.0.0.1", free.metrics)),
        pytest.raises(TorchServeError, match=f"and {free.metrics} cannot be used .*another --port"),
    ):
        choose_ports(free.metrics)


@pytest.mark.parametrize("host", ["localhost", "::", "candor.example"])
def test_a_host_that_is_no_ipv4_address_is_refused(tmp_path: Path, host: str) -> None:
    options = instance.TorchServeOptions(port=0, workers=1, batch_delay_ms=1, host=host)
    with pytest.raises(
        TorchServeError, match=f"must be an IPv4 address, such as 0.0.0.0 .* is '{host}'"
    ):
        instance.start(tmp_path, Settings(), options)


def test_management_is_at_the_loopback_wherever_predictions_are(tmp_path: Path) -> None:
    elsewhere = replace(of_process(os.getpid(), tmp_path), host="192.0.2.7")
    assert (elsewhere.url(), elsewhere.url("management")) == (
        "http://192.0.2.7:1",
        "http://127.0.0.1:2",
    )
    assert replace(elsewhere, host="0.0.0.0").url("metrics") == "http://127.0.0.1:3"


def test_a_store_without_production_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(
        NotInStore, match="has no model in production: run `candor promote MODEL VERSION`"
    ):
        instance.production_bundles(Store(tmp_path), ())


def test_the_process_that_has_the_number_now_is_never_touched(tmp_path: Path) -> None:
    """A record outlives a reboot or a crash, and its process id may be anybody's."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        try:
            write_record(tmp_path, of_process(stranger.pid, tmp_path, moment="another boot 17"))
            found = instance.status(tmp_path)
            assert (found.running, found.stale) == (False, True)
            with pytest.raises(TorchServeError, match="is running; start one"):
                instance.running(tmp_path)
            assert instance.stop(tmp_path) is not None
            assert stranger.poll() is None
            assert read_record(tmp_path) is None
        finally:
            stranger.kill()


def test_exactly_its_process_is_ended(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ours,
        subprocess.Popen(
            [sys.executable, "-c", "input()", f"{tmp_path}/scratch/.s"], stdin=subprocess.PIPE
        ) as worker,
        subprocess.Popen(
            [sys.executable, "-c", "input()", f"{tmp_path}/else"], stdin=subprocess.PIPE
        ) as stranger,
    ):
        try:
            write_record(tmp_path, of_process(ours.pid, tmp_path))
            assert instance.stop(tmp_path) is not None
            assert (ours.wait(PATIENCE_S), worker.wait(PATIENCE_S), stranger.poll()) == (
                -15,
                -9,
                None,
            )
        finally:
            for each in (ours, worker, stranger):
                each.kill()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"pid": 1}', json.dumps({"scratch": 1, "store": "s"})]
)
def test_a_record_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "torchserve.json").write_text(text)
    with pytest.raises(TorchServeError, match=r"torchserve.json cannot be read .*remove the file"):
        instance.status(tmp_path)


def test_two_commands_do_not_change_one_folder_at_a_time(tmp_path: Path) -> None:
    with (
        record.locked(tmp_path),
        pytest.raises(TorchServeError, match="another `candor torchserve` is at work"),
    ):
        instance.stop(tmp_path)
    assert instance.stop(tmp_path) is None


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(TorchServeError, match="name another one with --folder"):
        instance.status(file)


def test_status_and_stop_without_anything_started(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["torchserve", "status", "--folder", str(tmp_path / "none")])
    assert (said.exit_code, said.stdout) == (
        1,
        "TorchServe is not running; `candor torchserve start` starts it.\n",
    )
    assert not (tmp_path / "none").exists()
    ended = CliRunner().invoke(app, ["torchserve", "stop", "--folder", str(tmp_path / "none")])
    assert (ended.exit_code, ended.stdout) == (0, "TorchServe was not running\n")


def test_workers_get_no_secret_of_candor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_TOKENS", "a-secret-of-candor admin")
    token = tmp_path / "token"
    settings = Settings(monitor_url="http://127.0.0.1:8080", monitor_token_file=token)
    given = launcher._environment(tmp_path, settings)
    assert {name for name in given if name.startswith("CANDOR_")} == {
        *("CANDOR_MONITOR_URL", "CANDOR_MONITOR_OUTBOX", "CANDOR_MONITOR_TOKEN_FILE"),
    }
    assert "a-secret-of-candor" not in str(given)
    assert given["ORT_DISABLE_TELEMETRY"] == "1"
