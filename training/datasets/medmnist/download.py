"""Download MedMNIST files from their published addresses and check their published MD5."""

import hashlib
import http.client
import tempfile
import urllib.request
from pathlib import Path

from training.datasets.errors import BadDataset, DataNotFound
from training.datasets.medmnist.published import MD5, published_set
from training.progress import Progress, silent

ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
MAX_SIZE_BYTES = 1 << 35  # the largest, TissueMNIST at 224 pixels, has some 12 GB
BLOCK_BYTES = 1 << 18


def download_medmnist(
    name: str,
    folder: Path,
    *,
    address: str = ADDRESS,
    timeout_s: float = 20.0,
    progress: Progress = silent,
) -> Path:
    """Path of `{name}.npz` in `folder`; downloads the file unless it is there with the right MD5.

    The file appears only when it is complete and its MD5 is right. Raises DataNotFound, saying what
    to do, if the name has no published MD5, the network does not answer, or the downloaded file is
    not the published one.
    """
    published = published_set(name)
    if published is not None and published.refusal is not None:
        raise BadDataset(name, f"cannot be used: {published.refusal}")
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
            _check(part, expected=MD5[name])
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
                raise OSError(f"got more than {MAX_SIZE_BYTES} bytes")
            stream.write(block)
            progress("download", done, max(expected, done))


def _check(path: Path, *, expected: str) -> None:
    found = _md5(path)
    if found != expected:
        raise OSError(f"got MD5 {found}, expected {expected}: this is not the published file")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _advice(name: str) -> str:
    return (
        f"fetch {name}.npz from https://doi.org/10.5281/zenodo.10519652 in another way and give "
        "its path, "
        "or use `digits`, which needs no network"
    )
