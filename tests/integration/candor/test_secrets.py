"""No verb repeats what may be a password or a token, in an address or in a file of tokens."""

from collections.abc import Callable
from pathlib import Path

import pytest

from candor import command_line
from console import monitor
from hosting.listener import announce_missing_store
from hosting.settings import Settings
from model_store.store.store import Store
from tests.builders.bundles import png

SECRET = "hunter2"
SERVERS = (
    f"http://u:{SECRET}@127.0.0.1:1",
    f"http://127.0.0.1:1/?token={SECRET}",
    f"u:{SECRET}@127.0.0.1:1",
    f"http://u:{SECRET}@[bad",
    f"http://u:{SECRET}@127.0.0.1:99999",
    f"HTTP://u:{SECRET}@127.0.0.1:1",
)
STORES = (
    f"s3://k:{SECRET}@bucket/models",
    f"nonsense://k:{SECRET}@b/m",
    f"nonsense://b/m?token={SECRET}",
    f"memory://k:{SECRET}@b/m",
    f"memory://b/m?token={SECRET}",
    f"http://k:{SECRET}@127.0.0.1:1/m",
    f"http://127.0.0.1:1/m?token={SECRET}",
    f"k:{SECRET}@b/m",
)
LEDGERS = (
    f"postgresql://u:{SECRET}@127.0.0.1:1/x",
    f"postgresql://127.0.0.1:1/x?password={SECRET}",
    f"postgresql://u:hun@{SECRET}@127.0.0.1:1/x",
    f"postgresql://u:{SECRET}@127.0.0.1:port/x",
    f"nonsense://u:{SECRET}@h/x",
    f"u:{SECRET}@db/x",
    f"sqlite:///x.db?token={SECRET}",
    f"sqlite://u:{SECRET}@h/x",
    f"me:{SECRET}@db/x",
    f"postgresql://me:pass@{SECRET}/@db/x?password={SECRET}",
)
OF_SERVERS = (
    "predict a.png --model m --url",
    "predict a.png --url",
    "feedback labels.csv --url",
    "predictions answers.ndjson --url",
    "report --url",
    "report m --url",
    "promote tiny 1 --wait --limit 0.1 --url",
    "promote tiny 1 --wait --limit 0.1 --json --url",
)
OF_STORES = (
    "models list --store",
    "models show m --store",
    "models history m --store",
    "models verify --store",
    "models retire m 1 --store",
    "models gc --ledger off --store",
    "canary status m --store",
    "promote m 1 --store",
    "predict a.png --model m --store",
    "predict folder --out scored --model m --store",
    "predict folder --model tiny --out",
    "predict --model tiny --out scored",
    "import nothing.onnx --name m --store",
    "recalibrate m --ledger sqlite:///other.db --store",
)
OF_LEDGERS = (
    "report --ledger",
    "report m --ledger",
    "report --every day --to reports --once --ledger",
    "recalibrate m --ledger",
    "ledger check --ledger",
    "ledger prune --older-than 30d --ledger",
    "ledger export answers.csv --ledger",
    "ledger backup copy.db --ledger",
    "ledger restore copy.db --ledger",
    "ledger acknowledge m --ledger",
    "models gc --ledger",
)

Said = Callable[[str], str]


@pytest.fixture
def said(
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Said:
    """Runs a command that fails; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDOR_STORE", str(tiny_store.root))
    (tmp_path / "folder").mkdir()
    for file in ("a.png", "folder/a.png"):
        (tmp_path / file).write_bytes(png())
    (tmp_path / "labels.csv").write_text("request_id,label\na,normal\n")
    (tmp_path / "answers.ndjson").write_text('{"model": "m", "request_id": "a"}\n')

    def run(command: str) -> str:
        monkeypatch.setattr("sys.argv", ["candor", *command.split()])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        output, errors = capfd.readouterr()
        assert ended.value.code in (0, 1, 2), command
        return output + errors

    return run


@pytest.mark.parametrize("verb", OF_SERVERS)
def test_of_a_server(said: Said, verb: str) -> None:
    for address in SERVERS:
        assert SECRET not in said(f"{verb} {address}"), address


@pytest.mark.parametrize("verb", OF_STORES)
def test_of_a_store_or_folder(said: Said, verb: str) -> None:
    for address in STORES[:-1] if verb.endswith("--out") else STORES:  # which it would make
        command = verb.replace("predict --", f"predict {address} --")
        command = f"{verb} {address}" if command == verb else command
        assert SECRET not in said(command), address


@pytest.mark.parametrize("verb", OF_LEDGERS)
def test_of_a_ledger(said: Said, verb: str) -> None:
    for address in LEDGERS:
        assert SECRET not in said(f"{verb} {address}"), address


@pytest.mark.parametrize(
    ("setting", "addresses"),
    [
        ("CANDOR_STORE", STORES),
        ("CANDOR_LEDGER", (*LEDGERS, f"host=db password={SECRET}")),
        ("CANDOR_TOKENS", (f"a-token-{SECRET}-of-an-admin admin",)),
    ],
)
def test_of_a_setting(
    said: Said, monkeypatch: pytest.MonkeyPatch, setting: str, addresses: tuple[str, ...]
) -> None:
    for address in addresses:
        monkeypatch.setenv(setting, address)
        for verb in ("doctor", "config show", "config show --json", "report", "models list"):
            assert SECRET not in said(verb), (address, verb)


ADMIN = f"{SECRET}-{'x' * 16}"
POSTGRES = f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/db"
# What a start is given: it is refused, and each has a secret.
STARTS: dict[str, dict[str, str]] = {
    "an unknown variable": {"CANDOR_TOKEN": ADMIN, "CANDOR_LEDGER": POSTGRES},
    "an invalid value": {"CANDOR_DEADLINE_S": "x", "CANDOR_LEDGER": POSTGRES},
    "a ledger in the wrong place": {"CANDOR_SPOOL_LIMIT_BYTES": POSTGRES},
    "a token in the wrong place": {"CANDOR_PORT": f"{ADMIN} admin token"},
    "a database that is away": {"CANDOR_LEDGER": POSTGRES},
    "a password in the query": {
        "CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?password={SECRET}"
    },
    "an option that the driver repeats": {
        "CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?sslmode={SECRET}"
    },
    "a libpq string": {"CANDOR_LEDGER": f"host=127.0.0.1 port=1 user=user password={SECRET}"},
    "an @ in the password": {
        "CANDOR_LEDGER": f"postgresql+psycopg://user:a@{SECRET}@127.0.0.1:1/db"
    },
    "a port that is no number": {"CANDOR_LEDGER": f"postgresql+psycopg://u:{SECRET}@h:port/db"},
    "another database": {"CANDOR_LEDGER": f"mysql://user:{SECRET}@127.0.0.1/db"},
    "a file with a password": {"CANDOR_LEDGER": f"sqlite:////no/such/x.db?password={SECRET}"},
    "a token without a scope": {"CANDOR_TOKENS": ADMIN},
    "a token with a wrong scope": {"CANDOR_TOKENS": f"{ADMIN} {SECRET}"},
    "a short token": {"CANDOR_TOKENS": f"{SECRET} admin"},
    "a missing certificate": {"CANDOR_TLS_CERTIFICATE": "missing", "CANDOR_LEDGER": POSTGRES},
    "two ledgers": {"CANDOR_LEDGER": POSTGRES, "CANDOR_LEDGER_FILE": "ledger.url"},
    "a list that is none": {"CANDOR_HOSTS": "[1", "CANDOR_LEDGER": POSTGRES},
}


@pytest.mark.parametrize("name", STARTS)
def test_of_a_start_that_is_refused(said: Said, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(monitor, "LEDGER_WAIT_S", 0.1)
    for variable, value in ({"CANDOR_PORT": "0"} | STARTS[name]).items():
        monkeypatch.setenv(variable, value)
    told = said("serve")
    assert told
    assert SECRET not in told
    assert "Traceback" not in told


def test_of_a_store_that_a_server_does_not_find(capfd: pytest.CaptureFixture[str]) -> None:
    announce_missing_store(Settings(store=STORES[-1]), consequence="nothing is served.")
    said = "".join(capfd.readouterr())
    assert "***@b/m" in said
    assert SECRET not in said


def test_an_address_arrives_with_both_slashes(said: Said) -> None:
    assert "there is no store memory://nowhere/m:" in said("models list --store memory://nowhere/m")


TOKEN = "6706f5fe0c1d6706f5fe0c1d"
TOKEN_FILES = {
    "the server's own file": f"{TOKEN} read,predict reader\n2f4d4d06{TOKEN} admin eve\n",
    "scopes": f"{TOKEN} read\n",
    "two lines": f"{TOKEN}\n{TOKEN}x\n",
    "not ASCII": f"{TOKEN}é\n",
    "control characters": f"{TOKEN}\x07\n",
    "not UTF-8": TOKEN.encode("utf-16"),
}


@pytest.mark.parametrize(
    "verb", [["predict", "scan.png"], ["feedback", "labels.csv"], ["predictions", "labels.csv"]]
)
def test_a_file_that_is_no_token_is_refused_without_repeating_it(
    verb: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("prediction_id,label,predicted,confidence\na,b,b,0.9\n")
    arguments = [*verb, "--url", "http://127.0.0.1:9", "--token-file", "tokens"]
    monkeypatch.setattr("sys.argv", ["candor", *arguments])
    for content in TOKEN_FILES.values():
        (tmp_path / "tokens").write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = "".join(capfd.readouterr())
        assert ended.value.code == 1, said
        assert "a token is one word" in said
        assert TOKEN[:8] not in said
