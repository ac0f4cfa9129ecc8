"""The command that `candor report` prints last, pasted, does what the first step says."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from tests.builders.answers import CLASSES, draw, label, row_of
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import candor_here

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


def report(ledger: Path, model: str = "tiny") -> tuple[dict[str, object], list[str]]:
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
    action, words = report(ledger)
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
    action, words = report(tmp_path / "ledger.db")
    assert (action["code"], words) == ("find_cause", [])


def test_an_alarm_that_corrections_ended_is_acknowledged_as_printed(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with MonitoredModel(ledger, Clock()) as monitored:
        monitored.answer(range(240), wrong=3)
        monitored.label(*(label(n, CLASSES[n % 12 > 0]) for n in range(0, 240, 3)))
    action, words = report(ledger, "pneumonia")
    assert action["code"] == "acknowledge"
    assert candor_here(*words, "--ledger", f"sqlite:///{ledger}").exit_code == 0
    said = candor_here("report", "pneumonia", "--ledger", f"sqlite:///{ledger}", "--json").stdout
    assert json.loads(said)["diagnosis"]["alarms"] == []
