"""One version of one model on disk: written whole, and used only once every file is verified."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from calibration.measures.reliability import reliability
from model_store.bundle.archive import write_archive
from model_store.bundle.card import FORMAT_VERSION, Card
from model_store.bundle.diagram import diagram_file
from model_store.bundle.files import first_problem
from model_store.bundle.graph import check_graph
from model_store.bundle.manifest import (
    FileEntry,
    Manifest,
    read_files,
    read_manifest,
    write_manifest,
)
from model_store.bundle.model_card import DIAGRAM_FILE, MODEL_CARD_FILE, model_card
from model_store.errors import CardError, FileError, GraphError, ManifestError
from model_store.image.probes import PROBE_FILE, Probes, ProbesInvalid
from model_store.image.training_digests import DIGEST_FILE, DigestsInvalid, TrainingDigests

MODEL_FILE, CARD_FILE = "model.onnx", "card.json"
Part = TypeVar("Part")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        onnx: the verified bytes of model.onnx. Run these, not the file, which may change.
        probes: what the network said of made-up images where it was published; None: not known.
        trained_on: hashes of images that the network has seen; None: not known.
        digest: of its manifest, which names the hash of every file: `sha256:...`.
    """

    folder: Path
    card: Card
    onnx: bytes
    digest: str
    probes: Probes | None = None
    trained_on: TrainingDigests | None = None


def write_bundle(
    folder: Path,
    *,
    card: Card,
    onnx: bytes,
    probes: Probes | None = None,
    trained_on: TrainingDigests | None = None,
) -> Card:
    """Write everything into an empty folder; return the card with hashes.

    Without `probes`, nobody notices a machine that computes otherwise, and without `trained_on`
    nobody images from training.

    Raises GraphError if the graph breaks the contract or disagrees with the card. Nothing is
    written then.
    """
    _check_graph(folder, card, onnx)
    archive = folder / f"{card.name}.mar"
    beside: dict[str, bytes] = {}
    if probes is not None:
        beside[PROBE_FILE] = probes.as_json()
    if trained_on is not None:
        beside[DIGEST_FILE] = trained_on.as_bytes()
    write_archive(archive, card=card, onnx=onnx, beside=beside)
    files = {MODEL_FILE: onnx} | beside
    for name, data in files.items():
        (folder / name).write_bytes(data)
    hashes = {
        name: FileEntry.of((folder / name).read_bytes()).sha256 for name in (*files, archive.name)
    }
    card = card.model_copy(update={"files": hashes})
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(model_card(card), encoding="utf-8")
    shown = diagram_file(
        reliability(card.calibration.sums),
        of=f"{card.name}, version {card.version}: {card.calibration.reference_split}",
    )
    (folder / DIAGRAM_FILE).write_text(shown, encoding="utf-8")
    write_manifest(folder, name=card.name, version=card.version)
    return card


def read_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """Read and verify a bundle: manifest, every file, the card, then the graph.

    Args:
        folder: where it is.
        digest: the digest that it must have, if the caller knows one.

    Raises:
        ManifestError, CardError, FileError, GraphError: the message names the folder and what is
            wrong with it.
    """
    manifest = read_manifest(folder)
    if digest is not None and manifest.digest != digest:
        raise ManifestError(folder, f"its digest is {manifest.digest}, expected was {digest}")
    return _verified(folder, manifest, read_files(folder, manifest))


def parse_card(folder: Path, data: bytes) -> Card:
    """Return the card in the bytes of card.json. Raises CardError."""
    try:
        card = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CardError(folder, f"card.json is not JSON ({error})") from error
    version = card.get("format_version") if isinstance(card, dict) else None
    if version != FORMAT_VERSION:
        raise CardError(
            folder, f"card.json has format version {version!r}, this Candor reads {FORMAT_VERSION}"
        )
    try:
        return Card.model_validate(card)
    except ValidationError as error:
        raise CardError(folder, f"card.json: {first_problem(error)}") from error


def _verified(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Return the bundle if manifest, card and graph agree."""
    for name in (CARD_FILE, MODEL_FILE):
        if name not in contents:
            raise FileError(folder, f"manifest.json lists no {name}")
    card = parse_card(folder, contents[CARD_FILE])
    if (card.name, card.version) != (manifest.name, manifest.version):
        raise CardError(
            folder,
            f"the card is of {card.name}/{card.version}, the manifest of "
            f"{manifest.name}/{manifest.version}",
        )
    _check_card_files(folder, card, manifest)
    onnx = contents[MODEL_FILE]
    _check_graph(folder, card, onnx)
    shape = {"channels": card.input.channels, "outputs": len(card.classes)}
    probes = _parsed(folder, contents, PROBE_FILE, lambda data: Probes.from_json(data, **shape))
    trained_on = _parsed(folder, contents, DIGEST_FILE, TrainingDigests.from_bytes)
    return Bundle(folder, card, onnx, manifest.digest, probes, trained_on)


def _parsed(
    folder: Path, contents: Mapping[str, bytes], name: str, parse: Callable[[bytes], Part]
) -> Part | None:
    """Return what a file that not every bundle has says; None without it. Raises FileError."""
    try:
        return parse(contents[name]) if name in contents else None
    except (DigestsInvalid, ProbesInvalid) as error:
        raise FileError(folder, f"{name} cannot be read: {error}") from error


def _check_graph(folder: Path, card: Card, onnx: bytes) -> None:
    """Raise GraphError unless the graph keeps the contract and agrees with the card."""
    problem = check_graph(onnx, card)
    if problem:
        raise GraphError(folder, problem)


def _check_card_files(folder: Path, card: Card, manifest: Manifest) -> None:
    """The hashes on the card identify the model in the ledger, so they must be true."""
    if MODEL_FILE not in card.files:
        raise CardError(folder, f"card.json lists no {MODEL_FILE!r}")
    for name, sha256 in card.files.items():
        if name not in manifest.files or manifest.files[name].sha256 != sha256:
            raise FileError(
                folder,
                f"{name[:80]!r} is not the file of the card: its sha256 differs, or it is missing",
            )
