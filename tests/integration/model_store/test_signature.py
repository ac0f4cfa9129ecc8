"""Signatures of bundles: what model-signing signs is accepted, and nothing else, by name."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hosting.errors import SettingsError
from hosting.settings import load_settings
from model_store.bundle.manifest import SIGNATURE_FILE, write_manifest
from model_store.bundle.signature import SignatureError, read_public_key
from model_store.errors import SignatureKeyInvalid
from model_store.store.canary import start_canary
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png
from tests.builders.processes import candor_here
from tests.builders.services import running

Run = Callable[..., Any]


class Keys(NamedTuple):
    private: Path
    public: Path


def make_keys(folder: Path, name: str, private: Any = None) -> Keys:
    """Write a pair of keys, by default on the curve P-256."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    keys = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    keys.private.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    keys.public.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path, "ours")


@pytest.fixture
def run(tiny_store: Store) -> Callable[..., Any]:
    def invoke(verb: str, *words: object) -> Any:
        command = ["models", verb, *map(str, words), "--store", str(tiny_store.root)]
        return candor_here(*command)

    return invoke


def strict(store: Store, keys: Keys) -> Store:
    """The store as a server with --require-signature sees it."""
    return dataclasses.replace(store, key=read_public_key(keys.public))


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_what_is_signed_is_read_and_model_signing_agrees(
    tiny_store: Store, run: Run, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    keys = make_keys(tmp_path, "curve", ec.generate_private_key(curve))
    with pytest.raises(SignatureError):
        strict(tiny_store, keys).read("tiny")
    assert "is signed" in run("sign", "tiny", 1, "--key", keys.private).output
    assert strict(tiny_store, keys).read("tiny").card.version == 1
    assert tiny_store.read("tiny").digest  # a store that requires none ignores it
    for verb, option, key in (
        ("verify", "--public_key", keys.public),
        ("sign", "--private_key", keys.private),
    ):
        folder = tiny_store.folder("tiny", 1)
        command = [sys.executable, "-m", "model_signing", verb, "key", folder]
        command += ["--signature", folder / SIGNATURE_FILE, option, key]
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert run("verify", "--key", keys.public, "--ledger", "off").exit_code == 0


def test_a_bundle_manifest_and_history_that_were_changed_together_are_refused(
    tiny_store: Store, run: Run, keys: Keys
) -> None:
    """What digests cannot notice: everything in the store fits each other."""
    run("sign", "tiny", 1, "--key", keys.private)
    folder = tiny_store.folder("tiny", 1)
    card = json.loads((folder / "card.json").read_text())
    swapped = card | {"classes": card["classes"][::-1]}
    (folder / "card.json").write_text(json.dumps(swapped, indent=2))
    write_manifest(folder, name="tiny", version=1)
    (tiny_store.model("tiny") / "history.jsonl").unlink()
    tiny_store.promote("tiny", 1)
    assert tiny_store.read("tiny").card.classes == tuple(card["classes"][::-1])
    with pytest.raises(SignatureError, match="other files"):
        strict(tiny_store, keys).read("tiny")
    assert run("verify", "--key", keys.public, "--ledger", "off").exit_code == 1


def test_another_key_and_another_version_are_refused(
    tiny_store: Store, run: Run, keys: Keys, tmp_path: Path
) -> None:
    tiny_store.publish("tiny", partial(build_bundle, seed=1))
    run("sign", "tiny", 1, "--key", make_keys(tmp_path, "theirs").private)
    with pytest.raises(SignatureError, match="private key"):
        strict(tiny_store, keys).read("tiny", 1)
    run("sign", "tiny", 1, "--key", keys.private)
    signature = tiny_store.signature("tiny", 1)
    assert signature is not None
    tiny_store.write_signature("tiny", 2, signature)
    with pytest.raises(SignatureError, match="other files"):
        strict(tiny_store, keys).read("tiny", 2)


def test_every_changed_signature_is_refused(tiny_store: Store, run: Run, keys: Keys) -> None:
    run("sign", "tiny", 1, "--key", keys.private)
    path = tiny_store.folder("tiny", 1) / SIGNATURE_FILE
    data = json.loads(path.read_text())
    envelope = data["dsseEnvelope"]
    changes = (
        {"signatures": []},
        {"payloadType": "text/plain"},
        {"payload": "AAAA"},
        {"payload": "?"},
    )
    changed = [json.dumps(data | {"dsseEnvelope": envelope | each}) for each in changes]
    for text in ("", "{}", "[" * 100_000, *changed):
        path.write_text(text)
        with pytest.raises(SignatureError):
            strict(tiny_store, keys).read("tiny")


def test_without_a_signature_nothing_is_promoted_or_tried(
    tiny_store: Store, run: Run, keys: Keys
) -> None:
    tiny_store.publish("tiny", build_bundle)
    for act in (
        lambda: strict(tiny_store, keys).promote("tiny", 2),
        lambda: start_canary(strict(tiny_store, keys), "tiny", 2, mode="shadow"),
    ):
        with pytest.raises(SignatureError, match="candor models sign"):
            act()
    run("sign", "tiny", 2, "--key", keys.private)
    assert strict(tiny_store, keys).promote("tiny", 2).version == 2


@pytest.mark.anyio
async def test_a_server_serves_only_what_is_signed(
    tiny_store: Store, tmp_path: Path, run: Run, keys: Keys
) -> None:
    async with running(tiny_store, tmp_path, require_signature=keys.public) as server:
        ready = await server.client.get("/readyz")
        assert ready.status_code == 503
        assert "signature" in ready.json()["refused"]["tiny"]["reason"]
        run("sign", "tiny", 1, "--key", keys.private)
        server.service.watcher.scan()
        assert (await server.predict(png())).status_code == 200


def test_keys_that_are_none_are_one_sentence(
    tiny_store: Store, run: Run, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "text.pem").write_text("no key")
    other = make_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    for file in (tmp_path / "text.pem", tmp_path / "missing.pem", other.private):
        assert isinstance(run("sign", "tiny", 1, "--key", file).exception, SignatureKeyInvalid)
    for file in (tmp_path / "text.pem", tmp_path / "missing.pem", other.public, keys.private):
        assert isinstance(run("verify", "--key", file).exception, SignatureKeyInvalid)


def test_a_key_may_have_a_password(tiny_store: Store, run: Run, keys: Keys, tmp_path: Path) -> None:
    private = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    (tmp_path / "password").write_text("open sesame\n")
    assert isinstance(run("sign", "tiny", 1, "--key", locked).exception, SignatureKeyInvalid)
    done = run("sign", "tiny", 1, "--key", locked, "--password-file", tmp_path / "password")
    assert done.exit_code == 0, done.exception
    assert strict(tiny_store, keys).read("tiny").card.version == 1


def test_a_process_cannot_promote_what_it_cannot_sign(keys: Keys) -> None:
    with pytest.raises(SettingsError, match="no process holds the key"):
        load_settings(require_signature=keys.public, recalibrate_on_alarm="promote")
