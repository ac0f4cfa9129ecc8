"""Downloads from file: addresses, accepted only if complete and with the published MD5."""

import hashlib
from pathlib import Path

import pytest

from training.datasets.errors import DataNotFound
from training.datasets.medmnist_files import download_medmnist
from training.datasets.medmnist_sets import MD5

CONTENT = bytes(range(256)) * 3000


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address with CONTENT for `pneumoniamnist`, whose published MD5 is set to match."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "pneumoniamnist.npz").write_bytes(CONTENT)
    monkeypatch.setitem(MD5, "pneumoniamnist", hashlib.md5(CONTENT).hexdigest())
    return served.as_uri() + "/{name}.npz"


def test_a_file_is_downloaded_once_with_progress(tmp_path: Path, address: str) -> None:
    seen: list[tuple[int, int]] = []
    path = download_medmnist(
        "pneumoniamnist",
        tmp_path / "cache",
        address=address,
        progress=lambda _, done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 1
    again = download_medmnist(
        "pneumoniamnist", tmp_path / "cache", address="file:///nowhere/{name}"
    )
    assert again == path


def test_a_damaged_file_in_the_cache_is_downloaded_again(tmp_path: Path, address: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pneumoniamnist.npz").write_bytes(CONTENT[:100])
    assert (
        download_medmnist("pneumoniamnist", tmp_path / "cache", address=address).read_bytes()
        == CONTENT
    )


def test_a_wrong_md5_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MD5, "pneumoniamnist", "0" * 32)
    with pytest.raises(DataNotFound, match=r"MD5.*another way"):
        download_medmnist("pneumoniamnist", tmp_path / "cache", address=address)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_oversized_download_stops(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.datasets.medmnist_files.MAX_SIZE_BYTES", 1000)
    with pytest.raises(DataNotFound, match="more than 1000 bytes"):
        download_medmnist("pneumoniamnist", tmp_path / "cache", address=address)


def test_an_unpublished_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="no published address"):
        download_medmnist("mnist", tmp_path)
