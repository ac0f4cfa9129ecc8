"""`candor models` and `candor promote` on real bundles and a real ledger."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import candor
from model_store.bundle.bundle import Bundle
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.errors import BundleReplaced
from monitoring.ledger.database import Ledger
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from tests.builders.bundles import build_bundle
from tests.builders.processes import candor_here as run


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
    done = run("models", "verify", "--store", tiny_store.root, "--ledger", url, "--json")
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
    done = run("models", "verify", "--store", tiny_store.root, "--ledger", "off", "--json")
    assert done.exit_code == 1
    assert [each.get("record") for each in json.loads(done.stdout)] == [None, "history.jsonl"]
    assert (
        "line 1 of the history of 'tiny' is no event"
        in run("models", "list", "--store", tiny_store.root, "--json").stdout
    )


VERBS = (("promote",), ("canary", "start"), ("models", "verify"))


def test_another_spelling_of_a_version_is_a_usage_error(tiny_store: Store) -> None:
    for version in ("01", "2.0", "0", "+1", "../..", "1e0", "\u0661"):
        for verb in VERBS:
            done = run(*verb, "tiny", version, "--store", tiny_store.root)
            assert done.exit_code == 2, (verb, version)
            assert "is not a version" in done.output


def test_a_name_that_is_none_is_one_sentence(tiny_store: Store) -> None:
    for name in ("..", "../x", "a/b", "", "x" * 65, "x\x1b[31m"):
        for verb in VERBS:
            version = () if verb[0] == "models" else ("1",)
            done = run(*verb, name, *version, "--store", tiny_store.root)
            assert done.exit_code == 1, (verb, name)
            assert "is not a model name" in str(done.exception)


def test_what_the_ledger_knows_otherwise_is_refused(tiny_store: Store, url: str) -> None:
    """Bundle, manifest and history fit each other, but the answers came from another bundle."""
    register(url, tiny_store.read("tiny"))
    assert run("models", "verify", "--store", tiny_store.root, "--ledger", url).exit_code == 0
    (tiny_store.model("tiny") / "history.jsonl").unlink()
    build_bundle(tiny_store.folder("tiny", 1), seed=4)
    done = run("promote", "tiny", 1, "--store", tiny_store.root, "--ledger", url)
    assert (done.exit_code, tiny_store.production("tiny")) == (1, None)
    assert isinstance(done.exception, BundleReplaced)
    checked = run("models", "verify", "--store", tiny_store.root, "--ledger", url)
    assert checked.exit_code == 1
    assert "the ledger's answers of this version came from a bundle with digest" in checked.output


def test_a_ledger_that_is_away_holds_up_no_promotion_and_is_told(
    tiny_store: Store, url: str, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database")
    for options, env in (((), {"CANDOR_LEDGER": url}), (("--ledger", url), {})):
        done = run("promote", "tiny", 1, "--store", tiny_store.root, *options, env=env)
        assert done.exit_code == 0
        assert "could not be asked" in done.stdout
        told = candor.promote("tiny", 1, store=tiny_store.root, ledger=url)
        assert "The ledger could not be asked" in repr(told)
        assert told.as_dict()["notes"]
    never_made = run("promote", "tiny", 1, "--store", tiny_store.root)
    assert "could not be asked" not in never_made.output


def test_a_ledger_that_is_away_says_nothing_about_the_labels_of_a_canary(
    tiny_store: Store, url: str, tmp_path: Path
) -> None:
    """The promotion is done; what nobody could ask is not claimed."""
    (tmp_path / "ledger.db").write_bytes(b"no database")
    tiny_store.promote("tiny", 1)
    tiny_store.publish("tiny", partial(build_bundle, seed=2))
    start_canary(tiny_store, "tiny", 2, mode="shadow")
    refused = run("canary", "promote", "tiny", "--store", tiny_store.root, "--ledger", url)
    assert "could not be asked whether an answer of the canary" in str(refused.exception)
    promoted = candor.promote("tiny", 2, store=tiny_store.root, ledger=url)
    assert (promoted.version, promoted.canary_ended, promoted.labels) == (2, True, None)
    assert "without a label" not in repr(promoted)
    assert tiny_store.production("tiny") == 2
