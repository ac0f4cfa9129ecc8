"""`candor report` of a running server says what its ledger says; the exit code tells of alarms."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import Process, candor_here

run = partial(candor_here, "report")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """A ledger with a model in alarm and one with findings, and a server of it, as options."""
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, Clock()) as monitored:
        monitored.answer(range(300), wrong=3, both=True, tags='{"site": "A"}')
    with MonitoredModel(path, Clock(), card=findings_card()) as chest:
        chest.serve_findings(range(1000, 1010), [0.1, 0.5, 0.9])
    ledger = f"sqlite:///{path}"
    server = Process("monitor", tmp_path, ledger=ledger)
    yield ["--ledger", ledger], ["--url", server.url]
    assert server.end() == 0
    server.stop()


def test_a_report_of_a_server_is_that_of_its_ledger(places: tuple[list[str], list[str]]) -> None:
    ledger, server = places
    for asked in (
        ("pneumonia", "--window", "days:400"),
        ("pneumonia", "--version", "1", "--window", "all"),
        ("pneumonia", "--gap", "0.03"),
        ("chest",),
        ("chest", "--finding", "Edema", "--gap", "0.1"),
    ):
        before, said, after = (run(*asked, *where) for where in (ledger, server, ledger))
        assert said.exit_code == 0, said.output
        assert said.stdout in (before.stdout, after.stdout)  # which may be of another day
        assert len(said.stdout.splitlines()) > 5
        first, second = (json.loads(run(*asked, *where, "--json").stdout) for where in places)
        assert first.keys() == second.keys()
    for where in places:
        assert run("pneumonia", "--fail-on-alarm", *where).exit_code == 1
        assert run("chest", "--fail-on-alarm", *where).exit_code == 0
    assert run("nowhere", *server).exit_code == 1
    assert run("chest", *server, *ledger).exit_code == 2
    assert run("chest", "--url", "127.0.0.1").exit_code == 2
    for where in places:
        assert "--gap: name one finding by --finding" in run("chest", "--gap", "0.1", *where).output
