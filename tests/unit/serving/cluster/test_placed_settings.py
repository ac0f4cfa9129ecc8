"""Every setting travels to the replicas, and no secret; the node has the rest."""

import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from hosting.errors import SettingsError
from hosting.settings import Settings
from serving.cluster.engine import check
from serving.cluster.placed_settings import PlacedSettings

URL = "postgresql+psycopg://candor:hunter2@db/ledger"
TOKENS = "t" * 32 + " predict"
OTHER = "postgresql+psycopg://candor:hunter2@elsewhere/ledger"


def test_no_secret_travels() -> None:
    settings = Settings(ledger=URL, tokens=SecretStr(TOKENS))
    travels = pickle.dumps(PlacedSettings.of(settings))
    assert not [secret for secret in (b"hunter2", b"tttt") if secret in travels]


def test_a_replica_has_the_settings_of_the_command_and_the_secrets_of_its_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(ledger=URL, max_batch=3, deadline_s=None, ray_replica_cpus=1.5)
    placed = PlacedSettings.of(settings)
    monkeypatch.chdir("/")
    monkeypatch.setenv("CANDOR_LEDGER", URL)
    monkeypatch.setenv("CANDOR_DEADLINE_S", "7")
    here = placed.here()
    assert (here.ledger_url, here.max_batch, here.deadline_s) == (URL, 3, None)
    assert here.store == str(tmp_path / "model_store/models")
    assert (here.threads, here.decode_processes) == (2, 2)  # as many as Ray reserves


@pytest.mark.parametrize("node", [{}, {"CANDOR_LEDGER": OTHER}, {"CANDOR_LEDGER": "off"}])
def test_a_node_with_another_ledger_is_refused(
    monkeypatch: pytest.MonkeyPatch, node: dict[str, str]
) -> None:
    placed = PlacedSettings.of(Settings(ledger=URL))
    for name, value in node.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"//candor@db/ledger; set") as refused:
        placed.here()
    assert "hunter2" not in str(refused.value)


def test_a_node_without_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = PlacedSettings.of(Settings(ledger="off", tokens=SecretStr(TOKENS)))
    with pytest.raises(SettingsError, match="this node has no tokens"):
        placed.here()
    monkeypatch.setenv("CANDOR_TOKENS", TOKENS)
    assert placed.here().tokens_text is not None


@pytest.mark.parametrize("url", ["off", "postgresql+psycopg://candor@db/ledger"])
def test_a_ledger_without_secret_travels_too(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    placed = PlacedSettings.of(Settings(ledger=url))
    monkeypatch.setenv("CANDOR_LEDGER", OTHER)
    assert placed.here().ledger_url == (None if url == "off" else url)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "a SQLite ledger is a file of one"),
        ({"ledger": URL, "ledger_required": False}, "no spool that another one would find"),
        ({"ledger": URL, "ray_min_replicas": 9}, "CANDOR_RAY_MIN_REPLICAS is 9, more than"),
    ],
)
def test_what_several_replicas_cannot_have_is_refused(
    settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        check(Settings(**settings))
