"""One version of one model on disk: written as a whole, and used only after every file in it has been verified."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from model_store.archive import write_archive
from model_store.card import FORMAT_VERSION, Card
from model_store.errors import CardError, FileError, GraphError
from model_store.graph import check_graph

MODEL_FILE, CARD_FILE = "model.onnx", "card.json"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: its place on disk.
        card: its card.
        onnx: the verified bytes of model.onnx. Run these, not the file, which may change.
    """

    folder: Path
    card: Card
    onnx: bytes


def write_bundle(folder: Path, *, card: Card, onnx: bytes) -> Card:
    """Write model.onnx, the archive and card.json into an empty folder; return the card with the files' hashes.

    Raises:
        GraphError: the graph breaks the contract or disagrees with the card. Nothing is written then.
    """
    problem = check_graph(onnx, card)
    if problem:
        raise GraphError(folder, problem)
    archive = folder / f"{card.name}.mar"
    (folder / MODEL_FILE).write_bytes(onnx)
    write_archive(archive, card=card, onnx=onnx)
    hashes = {path.name: _sha256(path.read_bytes()) for path in (folder / MODEL_FILE, archive)}
    card = card.model_copy(update={"files": hashes})
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def read_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle: schema, file names, hashes, then the graph.

    Raises:
        CardError, FileError, GraphError: the message names the folder and what is wrong with it.
    """
    card = _read_card(folder)
    if MODEL_FILE not in card.files:
        raise CardError(folder, f"card.json lists no {MODEL_FILE}")
    with ThreadPoolExecutor() as pool:  # a server's start waits for reading and hashing
        read = pool.map(partial(_read_published, folder), card.files.keys(), card.files.values())
        contents = dict(zip(card.files, read, strict=True))
    problem = check_graph(contents[MODEL_FILE], card)
    if problem:
        raise GraphError(folder, problem)
    return Bundle(folder, card, contents[MODEL_FILE])


def _read_card(folder: Path) -> Card:
    try:
        data = json.loads(_read_file(folder, CARD_FILE))
    except (ValueError, RecursionError) as error:
        raise CardError(folder, f"card.json is not JSON ({error})") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise CardError(
            folder,
            f"card.json has format version {version!r}, this Candor reads {FORMAT_VERSION}: upgrade Candor",
        )
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the card"
        raise CardError(folder, f"card.json: {place}: {first['msg']}") from error


def _read_published(folder: Path, name: str, expected: str) -> bytes:
    data = _read_file(folder, name)
    if _sha256(data) != expected:
        raise FileError(
            folder, f"{name} is not the file that was published: its sha256 differs from the one on the card"
        )
    return data


def _read_file(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if Path(name).name != name or path.is_symlink():
            raise FileError(folder, f"the file name {name!r} leads out of the bundle's folder")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: the name contains a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise FileError(folder, f"{name!r} cannot be read ({reason})") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
