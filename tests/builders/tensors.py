"""Encoded images as a tensor of the Open Inference Protocol, in JSON and over gRPC."""

import base64
from typing import Any

from open_inference.grpc import protocol


def bytes_tensor(*images: bytes) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}


def infer_request(*images: bytes, model: str = "tiny") -> Any:
    request = protocol.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    tensor.contents.bytes_contents.extend(images)
    return request
