"""`candor models`, `candor promote` and `candor canary` on real bundles and a real ledger."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import Result

import candor
from model_store.bundle.bundle import Bundle
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.errors import BundleReplaced, ClockDoubtful
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import set_used
from monitoring.ledger.schema import DAY_NS
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from tests.builders.bundles import build_bundle
from tests.builders.processes import candor_here


def register(url: str, bundle: Bundle) -> None:
    """As a server does that serves this bundle."""
    with Ledger(url) as ledger, Recorder(ledger, MonitorMetrics(CollectorRegistry())) as recorder:
        recorder.register(bundle.card, digest=bundle.digest)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def test_everything_that_is_wrong_is_named(tiny_store: Store, url: str) -> None:
    tiny_store.publish("tiny", build_bundle)
    tiny_store.publish("tiny", build_bundle)
    tiny_store.set_alias("tiny", "staging", 3)
    shutil.rmtree(tiny_store.folder("tiny", 3))
    start_canary(tiny_store, "tiny", 2, mode="shadow")
    (tiny_store.folder("tiny", 2) / "tiny.mar").write_bytes(b"")
    for stray in ("01", "2.0", "-1"):
        (tiny_store.model("tiny") / stray).mkdir()
    (tiny_store.root / "a model").mkdir()
    done = candor_here("models", "verify", "--store", tiny_store.root, "--ledger", url, "--json")
    assert done.exit_code == 1
    problems = {
        (kind, each[kind]): each["problem"]
        for each in json.loads(done.stdout)
        for kind in ("version", "alias", "canary", "stray")
        if kind in each and each["problem"]
    }
    assert problems.keys() == {
        ("version", "2"),
        ("alias", "staging"),
        ("canary", "2"),
        ("stray", "01"),
        ("stray", "2.0"),
        ("stray", "-1"),
        ("stray", "a model"),
    }
    assert "tiny.mar is not the file that was published" in problems["version", "2"]


@pytest.mark.parametrize("content", [b"{", b"\xff\x00", b"[]\n"])
def test_a_history_that_is_damaged_is_named(tiny_store: Store, content: bytes) -> None:
    (tiny_store.model("tiny") / "history.jsonl").write_bytes(content)
    done = candor_here("models", "verify", "--store", tiny_store.root, "--ledger", "off", "--json")
    assert done.exit_code == 1
    assert [each.get("record") for each in json.loads(done.stdout)] == [None, "history.jsonl"]
    assert (
        "line 1 of the history of 'tiny' is no event"
        in candor_here("models", "list", "--store", tiny_store.root, "--json").stdout
    )


def test_what_the_ledger_knows_otherwise_is_refused(tiny_store: Store, url: str) -> None:
    """Bundle, manifest and history fit each other, but the answers came from another bundle."""
    register(url, tiny_store.read("tiny"))
    assert (
        candor_here("models", "verify", "--store", tiny_store.root, "--ledger", url).exit_code == 0
    )
    (tiny_store.model("tiny") / "history.jsonl").unlink()
    build_bundle(tiny_store.folder("tiny", 1), seed=4)
    done = candor_here("promote", "tiny", 1, "--store", tiny_store.root, "--ledger", url)
    assert (done.exit_code, tiny_store.production("tiny")) == (1, None)
    assert isinstance(done.exception, BundleReplaced)
    checked = candor_here("models", "verify", "--store", tiny_store.root, "--ledger", url)
    assert checked.exit_code == 1
    assert "the ledger's answers of this version came from a bundle with digest" in checked.output


def test_a_ledger_that_is_away_holds_up_no_promotion_and_is_told(
    tiny_store: Store, url: str, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database")
    for options, env in (((), {"CANDOR_LEDGER": url}), (("--ledger", url), {})):
        done = candor_here("promote", "tiny", 1, "--store", tiny_store.root, *options, env=env)
        assert done.exit_code == 0
        assert "could not be asked" in done.stdout
        told = candor.promote("tiny", 1, store=tiny_store.root, ledger=url)
        assert "The ledger could not be asked" in repr(told)
        assert told.as_dict()["notes"]
    never_made = candor_here("promote", "tiny", 1, "--store", tiny_store.root)
    assert "could not be asked" not in never_made.output


def test_a_ledger_that_is_away_says_nothing_about_the_labels_of_a_canary(
    tiny_store: Store, url: str, tmp_path: Path
) -> None:
    """The promotion is done; what nobody could ask is not claimed."""
    (tmp_path / "ledger.db").write_bytes(b"no database")
    tiny_store.promote("tiny", 1)
    tiny_store.publish("tiny", partial(build_bundle, seed=2))
    start_canary(tiny_store, "tiny", 2, mode="shadow")
    refused = candor_here("canary", "promote", "tiny", "--store", tiny_store.root, "--ledger", url)
    assert "could not be asked whether an answer of the canary" in str(refused.exception)
    promoted = candor.promote("tiny", 2, store=tiny_store.root, ledger=url)
    assert (promoted.version, promoted.canary_ended, promoted.labels) == (2, True, None)
    assert "without a label" not in repr(promoted)
    assert tiny_store.production("tiny") == 2


@pytest.fixture
def run(tiny_store: Store, tmp_path: Path) -> Callable[..., Result]:
    """`candor models` on the store, with a ledger that every verb that asks one is given."""

    def invoke(*arguments: object, answer: str | None = None) -> Result:
        words = [*map(str, arguments), "--store", str(tiny_store.root)]
        if arguments[0] != "promote":
            words.insert(0, "models")
        if arguments[0] in ("promote", "rollback", "gc") and "--ledger" not in words:
            words += ["--ledger", f"sqlite:///{tmp_path}/ledger.db"]
        return candor_here(*words, input=answer)

    return invoke


@pytest.fixture
def store(tiny_store: Store, tmp_path: Path) -> Store:
    """Five versions of 2026-01-01, and a ledger in which version 2 was registered just now."""
    for seed in range(1, 5):
        tiny_store.publish("tiny", partial(build_bundle, seed=seed))
    with (
        Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger,
        Recorder(ledger, MonitorMetrics(CollectorRegistry())) as recorder,
    ):
        bundle = tiny_store.read("tiny", 2)
        recorder.register(bundle.card, digest=bundle.digest)
    return tiny_store


def test_gc_says_first_and_keeps_what_the_ledger_knows(
    store: Store, run: Callable[..., Result]
) -> None:
    """1 is in production, 2 was served just now, 5 is the newest."""
    shown = run("gc", "--keep", 1, "--dry-run")
    assert shown.stdout.splitlines() == [
        f"tiny {version}: made on 2026-01-01, and nothing refers to it" for version in (3, 4)
    ]
    assert run("gc", "--keep", 1, answer="n\n").exit_code == 1
    assert run("gc", "--keep", 1, answer="").exit_code == 1
    assert store.versions("tiny") == [1, 2, 3, 4, 5]
    assert "2 removed" in run("gc", "--keep", 1, answer="y\n").output
    assert store.versions("tiny") == [1, 2, 5]
    assert "nothing to remove" in run("gc", "--keep", 1).output
    assert (
        json.loads(run("gc", "--keep", 1, "--ledger", "off", "--yes", "--json").stdout)[0][
            "version"
        ]
        == 2
    )


@pytest.mark.parametrize("days", [-8, 400])
def test_gc_removes_nothing_by_a_clock_that_contradicts_the_ledger(
    store: Store, run: Callable[..., Result], tmp_path: Path, days: int
) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, ledger.write() as connection:
        set_used(connection, ledger.clock() + days * DAY_NS)
    assert isinstance(run("gc", "--keep", 1, "--yes").exception, ClockDoubtful)
    assert store.versions("tiny") == [1, 2, 3, 4, 5]


def test_a_version_is_shown(store: Store, run: Callable[..., Result]) -> None:
    for which in (["tiny"], ["tiny/production"], ["tiny/1"], ["tiny", "production"], ["tiny", 1]):
        found = json.loads(run("show", *which, "--json").stdout)
        assert found["card"]["version"] == 1
        assert found["aliases"]["production"]["version"] == 1
        assert sorted(found["files"]) == [
            "card.json",
            "model.onnx",
            "model_card.md",
            "probes.json",
            "reliability.svg",
            "tiny.mar",
        ]
        assert [event["action"] for event in found["history"]] == ["published", "set"]


def test_two_versions_are_compared(store: Store, run: Callable[..., Result]) -> None:
    shown = json.loads(run("diff", "tiny/production", "tiny/3", "--json").stdout)
    found = {each["field"]: each for each in shown["differences"]}
    assert found["provenance.seed"] == {"field": "provenance.seed", "first": 0, "second": 2}
    assert found["version"] == {"field": "version", "first": 1, "second": 3}
    assert "file model.onnx" in found
    assert "classes" not in found
    assert not any("measures" in each or "bins" in each for each in found)  # without an interval
    assert shown["cards"]["ece"]["lower"] < shown["cards"]["ece"]["upper"]
    assert "provenance.seed" in run("diff", "tiny/1", "tiny/3").stdout
    assert (
        run("diff", "tiny", "production", 3).stdout
        == run("diff", "tiny/production", "tiny/3").stdout
    )
    for words in (["tiny"], ["tiny", "1", "2", "3"], ["tiny", "tiny/1", "tiny/2"]):
        assert "write it as chest 1 2" in run("diff", *words).stderr.replace("\n", " ")
    assert "are the same in every byte" in run("diff", "tiny/1", "tiny/production").stdout
