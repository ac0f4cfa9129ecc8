"""Reference images that cannot be read are refused, whatever their file claims."""

import io
import zipfile

import numpy as np
import pytest

from model_store.bundle.scope import NeighborsInvalid, ScopeNeighbors

NAMES = ("digests", "labels", "vectors")


def archive(*headers: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name, header in zip(NAMES, headers, strict=False):
            with written.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
    return stream.getvalue()


def test_what_cannot_be_read_is_refused() -> None:
    kept = ScopeNeighbors(np.array(["a"]), np.array(["x"]), np.ones((1, 2), np.float16))
    assert (
        ScopeNeighbors.from_bytes(kept.as_bytes()).nearest(np.ones(2, np.float32))[0].label == "x"
    )
    huge = {"descr": "<f2", "fortran_order": False, "shape": (10**13,)}
    objects = huge | {"descr": "|O", "shape": (1,)}
    texts = huge | {"descr": "<U1", "shape": (0,)}
    broken = [b"", b"PK", kept.as_bytes()[:-40], archive(texts), archive(objects, texts, huge)]
    for data in [*broken, archive(huge, huge, huge), archive(texts, texts, texts)]:
        with pytest.raises(NeighborsInvalid):
            ScopeNeighbors.from_bytes(data)
