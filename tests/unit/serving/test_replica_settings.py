"""Every setting travels to the replicas, and no secret; the node has the rest."""

import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from hosting.errors import SettingsError
from hosting.settings import Settings
from serving.cluster.engine import check
from serving.cluster.replica import local_settings, settings_here, shared_settings

URL = "postgresql+psycopg://candor:hunter2@db/ledger?sslpassword=hunter2"
TOKENS = "t" * 32 + " predict"


def placed(settings: Settings) -> Settings:
    return settings_here(shared_settings(settings), local_settings(settings))


def test_no_secret_travels() -> None:
    settings = Settings(ledger=URL, tokens=SecretStr(TOKENS))
    travels = pickle.dumps((shared_settings(settings), local_settings(settings)))
    assert not [secret for secret in (b"hunter2", b"tttt") if secret in travels]


def test_a_replica_has_the_settings_of_the_command_and_the_secrets_of_its_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(ledger=URL, max_batch=3, deadline_s=None, tokens=SecretStr(TOKENS))
    shared, local = shared_settings(settings), local_settings(settings)
    monkeypatch.chdir("/")
    for name, value in (("LEDGER", URL), ("TOKENS", TOKENS), ("DEADLINE_S", "7")):
        monkeypatch.setenv(f"CANDOR_{name}", value)
    here = settings_here(shared, local)
    assert (here.ledger_url, here.max_batch, here.deadline_s) == (URL, 3, None)
    assert (here.tokens_text, here.threads) == (TOKENS, 1)  # as many as Ray reserves
    assert here.store == str(tmp_path / "model_store/models")


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"LEDGER": URL},
        {"LEDGER": "off", "TOKENS": TOKENS},
        {"LEDGER": URL.replace("@db", "@elsewhere"), "TOKENS": TOKENS},
    ],
)
def test_a_node_without_the_servers_ledger_or_tokens_is_refused(
    monkeypatch: pytest.MonkeyPatch, node: dict[str, str]
) -> None:
    settings = Settings(ledger=URL, tokens=SecretStr(TOKENS))
    for name, value in node.items():
        monkeypatch.setenv(f"CANDOR_{name}", value)
    with pytest.raises(SettingsError, match=r"//candor@db/ledger and tokens; set") as refused:
        placed(settings)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "a SQLite ledger is a file of one"),
        ({"ledger": URL, "spool_limit_bytes": 2**20}, "find the spool of another"),
    ],
)
def test_what_several_replicas_cannot_have_is_refused(
    settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        check(Settings(**settings))
