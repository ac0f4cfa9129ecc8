"""Encoded images as a tensor of the Open Inference Protocol."""

import base64
from typing import Any


def bytes_tensor(*images: bytes) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}
