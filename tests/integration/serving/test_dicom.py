"""DICOM bodies over HTTP: the predictor's answers, or the right refusal, never a 500."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import MPEG2MPML, JPEGLSLossless

from model_store.store.store import Store
from serving.inference.predictor import Predictor
from tests.builders.dicoms import dicom, dicom_frames, dicom_rle
from tests.builders.processes import PATIENCE_S
from tests.builders.services import refusal, running

pytestmark = pytest.mark.anyio

SLICE = np.arange(-1024, 1024, 4, dtype=np.int16).reshape(16, 32)


async def test_a_slice_is_answered_as_any_image(tiny_store: Store, tmp_path: Path) -> None:
    expected = Predictor(tiny_store.read("tiny", 1))
    async with running(tiny_store, tmp_path) as server:
        for data in (
            dicom(SLICE, WindowCenter=[40, 600], WindowWidth=[80, 2800]),
            dicom_rle(SLICE),
        ):
            answer = await server.predict(data, Content_Type="application/dicom")
            assert answer.status_code == 200
            assert answer.json()["probabilities"] == pytest.approx(
                expected.classify(data).probabilities, abs=1e-6
            )


async def test_what_cannot_be_read_is_refused(tiny_store: Store, tmp_path: Path) -> None:
    async with running(tiny_store, tmp_path) as server:
        for data, status, code in (
            (dicom(SLICE, frames=2), 415, "unsupported_image"),
            (dicom_frames([b"\xff\xd8"], JPEGLSLossless, (2, 2), np.uint8), 400, "broken_image"),
            (dicom_frames([b"\xff\xd8"], MPEG2MPML, (2, 2), np.uint8), 415, "unsupported_image"),
            (dicom(SLICE, keep=100), 400, "broken_image"),
            (dicom(SLICE)[:-100], 400, "broken_image"),
            (dicom(SLICE, Rows=60_000, Columns=60_000), 413, "image_too_large"),
        ):
            assert refusal(await server.predict(data)) == (status, code)


def test_a_server_starts_without_pydicom() -> None:
    """Its import takes 0.3 s, which only a server that meets DICOM should pay."""
    program = (
        "import sys, serving.process.server, serving.inference.predictor; print('pydicom' in "
        "sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert run.stdout.strip() == "False"
