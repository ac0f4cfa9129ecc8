"""The TorchServe handler: the same graph, preprocessing and answer as Candor's server, without ledger and monitor.

The archive contains it beside `model.onnx`, `card.json` and the `model_store` files that it imports. So it needs NumPy,
Pillow and onnxruntime (and pydicom to read DICOM) and nothing else, not even TorchServe, which only calls it. A bad
image gets its own 4xx and does not affect the other images of its batch.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store.errors import BrokenImage, EmptyImage, ImageError, ImageTooLarge, UnknownImage, UnsupportedImage
from model_store.image import KNOWN, InputSpec, decode
from model_store.runtime import ort

STATUS: dict[type[ImageError], tuple[int, str]] = {
    EmptyImage: (400, "empty_body"),
    BrokenImage: (400, "broken_image"),
    ImageTooLarge: (413, "image_too_large"),
    UnknownImage: (415, "not_an_image"),
    UnsupportedImage: (415, "unsupported_image"),
}
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class CandorHandler:
    """TorchServe finds it because it is the only class here. It calls `initialize` once and `handle` per batch."""

    def initialize(self, context: Any) -> None:
        """Load the graph and the card from the unpacked archive."""
        folder = Path(context.system_properties["model_dir"])
        self._card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        self._spec = InputSpec(**self._card["input"])
        available = ort.get_available_providers()
        providers = [name for name in PROVIDERS if name in available]
        self._session = ort.InferenceSession((folder / "model.onnx").read_bytes(), providers=providers)

    def handle(self, requests: Sequence[Mapping[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Return one answer, or one error whose status is set in `context`, per request of the batch, in order."""
        answers: list[dict[str, Any]] = [{} for _ in requests]
        images: dict[int, npt.NDArray[np.uint8]] = {}
        for index, request in enumerate(requests):
            try:
                images[index] = decode(_body(request), self._spec)
            except ImageError as error:
                status, code = STATUS[type(error)]
                context.set_response_status(code=status, phrase=HTTPStatus(status).phrase, idx=index)
                answers[index] = {"error": code, "detail": str(error)}
        if images:
            rows = self._session.run(["probabilities"], {"image": np.stack(list(images.values()))})[0]
            for index, row in zip(images, rows, strict=True):
                answers[index] = self._answer(row, context.get_request_header(index, "X-Request-Id"))
        return answers

    def _answer(self, row: npt.NDArray[np.float32], request_id: str | None) -> dict[str, Any]:
        classes = self._card["classes"]
        best = int(row.argmax())
        referral = self._card.get("referral")
        return {
            "prediction_id": str(uuid.uuid4()),
            "request_id": request_id,
            "model": self._card["name"],
            "version": self._card["version"],
            "label": classes[best],
            "confidence": float(row[best]),
            "probabilities": {name: float(value) for name, value in zip(classes, row, strict=True)},
            "refer": None if referral is None else bool(row[best] < referral["threshold"]),
        }


def _body(request: Mapping[str, Any]) -> bytes:
    """Return the encoded image of a request. TorchServe has parsed JSON and text already, which are not images."""
    body = request.get("body") or request.get("data") or b""
    if not isinstance(body, bytes | bytearray):
        raise UnknownImage(KNOWN)
    return bytes(body)
