"""The signature of a bundle by OpenSSF's model-signing: `model.sig` beside the manifest.

Signing needs that package. Verifying needs `cryptography` alone: the format is a DSSE envelope
around an in-toto statement (https://github.com/sigstore/model-transparency), which names each file
with its SHA-256. It is compared with the manifest that was verified, so no file is read a second
time.
"""

import base64
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_store.bundle.bundle import Bundle
from model_store.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, read_manifest
from model_store.errors import BundleError, SignatureKeyInvalid
from model_store.installation import install_command

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


class SignatureError(BundleError):
    """A bundle has no signature, or one by another key or of other files."""


def read_public_key(file: Path) -> bytes:
    """Return the public key in a PEM file. Raises SignatureKeyInvalid."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SignatureKeyInvalid(f"the key {file} cannot be read: {error.strerror}") from error
    _load(data)
    return data


def require_signature(bundle: Bundle, signature: bytes | None, key: bytes) -> None:
    """Raise SignatureError unless the owner of `key` signed exactly the bundle's files."""
    name = f"{bundle.card.name} {bundle.card.version}"
    if signature is None:
        raise SignatureError(
            bundle.folder,
            f"it has no signature, and one is required: run `candor models sign {name} --key KEY`",
        )
    manifest = read_manifest(bundle.folder)
    if manifest.digest != bundle.digest:
        raise SignatureError(bundle.folder, "its manifest has changed since it was read")
    if _signed_files(bundle.folder, signature, key) != _files(manifest):
        raise SignatureError(bundle.folder, f"{SIGNATURE_FILE} is a signature of other files")


def sign(bundle: Bundle, *, key: Path, password: str | None = None) -> bytes:
    """Return a signature of a bundle, for `SIGNATURE_FILE`.

    `key` is a PEM file with a private key on the curve P-256, P-384 or P-521.

    Raises SignatureKeyInvalid for a key that cannot be used, or if the extra `signing` is not
    installed.
    """
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise SignatureKeyInvalid(
            f"signing needs more packages ({error})", install=install_command("signing")
        ) from error
    named = _files(read_manifest(bundle.folder)).keys()
    others = [path for path in bundle.folder.iterdir() if path.name not in named]
    secret: Any = None if password is None else password.encode()  # annotated as a str there
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / SIGNATURE_FILE
        try:
            signer = signing.Config().use_elliptic_key_signer(private_key=key, password=secret)
            hashed = hashing.Config().set_ignored_paths(paths=others)
            signer.set_hashing_config(hashed).sign(bundle.folder, made)
        # AttributeError: a key of another kind.
        except (AttributeError, OSError, TypeError, ValueError) as error:
            raise SignatureKeyInvalid(
                f"the key {key} cannot be used ({error}); expected a private key in PEM on the "
                "curve P-256, P-384 or P-521, and its password if it has one"
            ) from error
        return made.read_bytes()


def _files(manifest: Manifest) -> dict[str, str]:
    named = {name: entry.sha256 for name, entry in manifest.files.items()}
    return named | {MANIFEST_FILE: manifest.digest.removeprefix("sha256:")}


def _signed_files(folder: Path, signature: bytes, key: bytes) -> dict[str, str]:
    """Return the files that a signature names, with their hashes, after verifying it."""
    try:
        envelope = json.loads(signature)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signed,) = envelope["signatures"]
        signed = base64.b64decode(signed["sig"], validate=True)
        if envelope["payloadType"] == PAYLOAD_TYPE and _verifies(key, signed, payload):
            return _resources(json.loads(payload))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SignatureError(
            folder, f"{SIGNATURE_FILE} is no signature that Candor reads ({error})"
        ) from error
    raise SignatureError(
        folder, f"{SIGNATURE_FILE} was not made with the private key of the key that is required"
    )


def _resources(statement: Mapping[str, Any]) -> dict[str, str]:
    if statement["predicateType"] != PREDICATE_TYPE:
        raise ValueError(f"it is a statement of type {statement['predicateType']}")
    return {
        each["name"]: each["digest"]
        for each in statement["predicate"]["resources"]
        if each["algorithm"] == "sha256"
    }


def _verifies(key: bytes, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public = _load(key)
    digests = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    kind = PAYLOAD_TYPE.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    try:
        public.verify(signature, message, ec.ECDSA(digests[public.curve.key_size]))
    except InvalidSignature:
        return False
    return True


def _load(key: bytes) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SignatureKeyInvalid(
            f"a signature needs more packages ({error})", install=install_command("signatures")
        ) from error
    try:
        public = load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureKeyInvalid(
            "the key is no public key in PEM; expected one on the curve P-256, P-384 or P-521"
        ) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in (
        "secp256r1",
        "secp384r1",
        "secp521r1",
    ):
        raise SignatureKeyInvalid(
            "the key is on no curve that model-signing uses: P-256, P-384 or P-521"
        )
    return public
