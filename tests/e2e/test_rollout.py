"""A refused promotion and a lost store show in `candor promote --wait` and in metrics."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from model_store.store.store import Store
from tests.builders.bundles import build_bundle
from tests.builders.processes import candor_here, free_port, wait_until
from tests.builders.servers import Server, Start


def roles(server: Server) -> list[float]:
    names = ("wanted", "served", "refused")
    return [server.metric(f"candor_model_{name}_version") for name in names]


def test_wait_says_what_each_server_serves(start: Start, tiny_store: Store, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    good, strict = start(tiny_store), start(tiny_store, ready=False, require_signature=str(key))
    tiny_store.publish("tiny", build_bundle)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    promote = ("promote", "tiny", 2, "--store", tiny_store.root, "--ledger", ledger, "--wait")
    done = candor_here(*promote, "--url", good.url, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["servers"] == [{"url": good.url, "version": 2, "problem": None}]

    wait_until(lambda: roles(strict) == [2, 0, 2])
    away = f"http://127.0.0.1:{free_port()}"
    urls = [word for url in (good.url, strict.url, away) for word in ("--url", url)]
    done = candor_here(*promote, *urls, "--limit", 2)
    assert done.exit_code == 1, done.output
    said = done.stdout.replace("\n", " ")
    assert f"{good.url} serves version 2" in said
    assert f"{strict.url} does not serve the model: it refuses version 2: " in said
    assert f"{away} does not serve the model: it cannot be asked: " in said
    assert (roles(good), roles(strict)) == ([2, 2, 0], [2, 0, 2])
