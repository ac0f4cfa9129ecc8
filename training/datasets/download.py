"""MedMNIST files from their published addresses, checked against the published MD5 before they are believed.

Addresses and sums: the `medmnist` package 3.0.2, `info.py` (Zenodo record 10519652). MD5 guards against a truncated or
replaced file on the way, which is all that the publisher offers; it is no defence against a malicious publisher.
"""

import hashlib
import http.client
import tempfile
import urllib.request
from pathlib import Path

from training.errors import DataNotFound
from training.progress import Progress, silent

ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
MD5: dict[str, str] = {
    "bloodmnist": "7053d0359d879ad8a5505303e11de1dc",
    "breastmnist": "750601b1f35ba3300ea97c75c52ff8f6",
    "dermamnist": "0744692d530f8e62ec473284d019b0c7",
    "octmnist": "c68d92d5b585d8d81f7112f81e2d0842",
    "organamnist": "68e3f8846a6bd62f0c9bf841c0d9eacc",
    "organcmnist": "b9ceb9546e10131b32923c5bbeaea2b1",
    "organsmnist": "9ab87b696fb54e2a387ebe992d6ed5f1",
    "pathmnist": "a8b06965200029087d5bd730944a56c1",
    "pneumoniamnist": "28209eda62fecd6e6a2d98b1501bb15f",
    "pneumoniamnist_64": "8f4eceb4ccffa70c672198ea285246c6",
    "pneumoniamnist_128": "05b46931834c231683c68f40c47b2971",
    "pneumoniamnist_224": "d6a3c71de1b945ea11211b03746c1fe1",
    "retinamnist": "bd4c0672f1bba3e3a89f0e4e876791e4",
    "tissuemnist": "ebe78ee8b05294063de985d821c1c34b",
}
MAX_SIZE_BYTES = 1 << 30
BLOCK_BYTES = 1 << 18


def download_medmnist(
    name: str, folder: Path, *, address: str = ADDRESS, timeout_s: float = 20.0, progress: Progress = silent
) -> Path:
    """Path of `{name}.npz` in `folder`, fetched unless it is there with the right MD5.

    The file appears only once it is whole and its sum is right. Raises DataNotFound, saying what to do, when the name
    has no published sum, the network does not answer, or what came is not the published file.
    """
    if name not in MD5:
        raise DataNotFound(f"no published address for {name!r}; known: {', '.join(sorted(MD5))}")
    target = folder / f"{name}.npz"
    if target.is_file() and _md5(target) == MD5[name]:
        return target
    url = address.format(name=name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
            part = Path(scratch) / "part"
            _fetch(url, part, timeout_s=timeout_s, progress=progress)
            _check(part, url=url, expected=MD5[name])
            part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DataNotFound(f"could not download {url} ({error}); {_advice(name)}") from error
    return target


def _fetch(url: str, path: Path, *, timeout_s: float, progress: Progress) -> None:
    with urllib.request.urlopen(url, timeout=timeout_s) as answer, path.open("wb") as stream:
        expected = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while block := answer.read(BLOCK_BYTES):
            done += len(block)
            if done > MAX_SIZE_BYTES:
                raise OSError(f"more than {MAX_SIZE_BYTES} bytes came")
            stream.write(block)
            progress("download", done, max(expected, done))


def _check(path: Path, *, url: str, expected: str) -> None:
    found = _md5(path)
    if found != expected:
        raise OSError(f"its MD5 is {found}, published is {expected}: not the file that {url} should hold")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _advice(name: str) -> str:
    return (
        f"fetch {name}.npz from https://doi.org/10.5281/zenodo.10519652 by other means and give its path, "
        "or use `digits`, which needs no network"
    )
