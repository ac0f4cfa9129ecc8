"""`candor report` of a ledger and of its server; the command that it prints does what it says."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from tests.builders.answers import CLASSES, draw, label, row_of
from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import Process, candor_here

report_of = partial(candor_here, "report")


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
        before, said, after = (report_of(*asked, *where) for where in (ledger, server, ledger))
        assert said.exit_code == 0, said.output
        assert said.stdout in (before.stdout, after.stdout)  # which may be of another day
        assert len(said.stdout.splitlines()) > 5
        first, second = (json.loads(report_of(*asked, *where, "--json").stdout) for where in places)
        assert first.keys() == second.keys()
    for where in places:
        assert report_of("pneumonia", "--fail-on-alarm", *where).exit_code == 1
        assert report_of("chest", "--fail-on-alarm", *where).exit_code == 0
    assert report_of("nowhere", *server).exit_code == 1
    assert report_of("chest", *server, *ledger).exit_code == 2
    assert report_of("chest", "--url", "127.0.0.1").exit_code == 2
    for where in places:
        assert (
            "--gap: name one finding by --finding"
            in report_of("chest", "--gap", "0.1", *where).output
        )


N = 700
BIAS = np.array([0.0, -1.5, 1.5])


def serve(
    path: Path, store: Store, *, wrong: str, since: int, bias: float = 0, power: float = 1
) -> None:
    """Answers of sites in turns. From number `since` on, those of the sites `wrong` should favor a
    class, or be less sure.
    """
    rng, clock = np.random.default_rng(5), Clock()
    p = rng.dirichlet(np.full(3, 0.5), N)
    sites = ["BABC"[n % 4] for n in range(N)]
    rows = np.isin(sites, list(wrong)) & (np.arange(N) >= since)
    truth = np.where(rows[:, None], p**power * np.exp(bias * BIAS), p)
    served = [row_of(n, p[n], tags=json.dumps({"site": site})) for n, site in enumerate(sites)]
    clock.now_ns = served[-1].served_at_ns
    with MonitoredModel(path, clock, card=store.read("tiny").card) as monitored:
        names = np.array(monitored.card.classes)[draw(rng, truth / truth.sum(1, keepdims=True))]
        monitored.serve(*served)
        labels = zip(names.tolist(), served, strict=True)
        monitored.label(*(FeedbackItem(name, row.prediction_id) for name, row in labels))


def first_step(ledger: Path, model: str = "tiny") -> tuple[dict[str, object], list[str]]:
    """The first thing to do, and the words of the printed command after "candor"."""
    where = (model, "--ledger", f"sqlite:///{ledger}")
    actions = json.loads(candor_here("report", *where, "--json").stdout)["diagnosis"]["actions"]
    said = candor_here("report", *where).stdout
    return actions[0], shlex.split("".join(re.findall(r"^Next: candor (.*)$", said, re.M)))


@pytest.mark.parametrize(
    ("wrong", "error", "code"),
    [("ABC", {"bias": 1}, "recalibrate"), ("B", {"power": 0.2}, "recalibrate_group")],
)
def test_a_recalibration_that_is_advised_is_published_as_printed(
    tmp_path: Path, tiny_store: Store, wrong: str, error: dict[str, float], code: str
) -> None:
    """Where labels favor a class, a bias helps, which may change predicted classes."""
    ledger = tmp_path / "ledger.db"
    serve(ledger, tiny_store, wrong=wrong, since=200, **error)
    action, words = first_step(ledger)
    assert (action["code"], action["changes_labels"]) == (code, "bias" in error)
    words.remove("--preview")
    places = ("--ledger", f"sqlite:///{ledger}", "--store", tiny_store.root)
    done = json.loads(candor_here(*words, *places, "--json").stdout)
    assert (done["labels"], done["harmed"]) == (action["labels"], [])
    assert tiny_store.versions("tiny") == [1, 2]


def test_a_recalibration_that_would_be_refused_for_few_labels_is_not_advised(
    tmp_path: Path, tiny_store: Store
) -> None:
    serve(tmp_path / "ledger.db", tiny_store, wrong="ABC", since=640, bias=5)
    action, words = first_step(tmp_path / "ledger.db")
    assert (action["code"], words) == ("find_cause", [])


def test_an_alarm_that_corrections_ended_is_acknowledged_as_printed(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with MonitoredModel(ledger, Clock()) as monitored:
        monitored.answer(range(240), wrong=3)
        monitored.label(*(label(n, CLASSES[n % 12 > 0]) for n in range(0, 240, 3)))
    action, words = first_step(ledger, "pneumonia")
    assert action["code"] == "acknowledge"
    assert candor_here(*words, "--ledger", f"sqlite:///{ledger}").exit_code == 0
    said = candor_here("report", "pneumonia", "--ledger", f"sqlite:///{ledger}", "--json").stdout
    assert json.loads(said)["diagnosis"]["alarms"] == []
