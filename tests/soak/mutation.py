"""Good requests, broken as files break: images of every format, JSON and forms."""

import base64
import json
import random
from dataclasses import dataclass, field

import numpy as np

from tests.builders import dicoms
from tests.builders.bundles import CLASSES, encode, picture

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
_MODES = ("RGB", "L")
_PATHS = (
    *("/predictions/tiny", "/predictions/tiny/1") * 4,
    *(
        "/predictions/tiny?explain=occlusion",
        "/predictions/tiny/9",
        "/predictions/",
        "/predictions/tiny?explain=%ff",
    ),
    *(
        "/v2/models/tiny/infer",
        "/v2/models/tiny/versions/1/infer",
        "/v2/models/%00/infer",
        "/feedback",
        "/feedback",
    ),
    *(
        "/models/tiny/report?version=x",
        "/models/tiny/report/reset",
        "/predictions/%2e%2e/x",
        "/nothing",
    ),
)
_TYPES = (
    *(
        "image/png",
        "application/octet-stream",
        "application/json",
        "application/x-ndjson",
        "text/plain",
        "",
    ),
    *(
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "application/json; charset=utf-7",
        "\xff/\x01",
    ),
)
_EDGES = (0, 1, 0x7F, 0x80, 0xFF)


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Mutator:
    """Makes requests without end, the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self.images = list(_images())
        self._texts = [json.dumps(text).encode() for text in _texts(self.images)]

    def request(self) -> Request:
        """The next one."""
        choose = self._random.choice
        headers = {"Content-Type": choose(_TYPES)} if self._random.random() < 0.3 else {}
        for name in (
            "X-Request-Id",
            "X-Candor-Tags",
            "X-Candor-Canary",
            "Inference-Header-Content-Length",
        ):
            if self._random.random() < 0.04:
                headers[name] = self._word()
        seed = choose(self.images) if self._random.random() < 0.7 else choose(self._texts)
        if "multipart" in headers.get("Content-Type", "") and self._random.random() < 0.8:
            seed = _form(seed)
        method = (
            "POST" if self._random.random() < 0.95 else choose(("PUT", "GET", "DELETE", "OPTIONS"))
        )
        return Request(method, choose(_PATHS), self.mutated(seed), headers)

    def raw(self) -> bytes:
        """A whole HTTP request, broken anywhere."""
        head = (
            f"POST {self._random.choice(_PATHS)} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"
        )
        return self.mutated(head.encode() + bytes(20))

    def mutated(self, data: bytes) -> bytes:
        """`data` after up to four accidents."""
        for _ in range(self._random.randrange(5)):
            data = self._accident(bytearray(data))
        return data

    def _accident(self, data: bytearray) -> bytes:
        place = self._random.randrange(len(data) + 1)
        length = self._random.randrange(1, 33)
        match self._random.randrange(7):
            case 0:  # cut off
                del data[place:]
            case 1:  # a hole
                del data[place : place + length]
            case 2:  # twice the same
                data[place:place] = data[place : place + length]
            case 3:  # other bytes
                data[place : place + length] = self._random.randbytes(length)
            case 4:  # the ends of a byte's range, where sizes and counts break
                data[place : place + 4] = bytes(self._random.choice(_EDGES) for _ in range(4))
            case 5:  # one bit
                if place < len(data):
                    data[place] ^= 1 << self._random.randrange(8)
            case _:  # the end of another file
                other = self._random.choice(self.images)
                data[place:] = other[self._random.randrange(len(other)) :]
        return bytes(data)

    def _word(self) -> str:
        words = (
            "true",
            "a=b",
            "a=b,c=d",
            "0",
            "-1",
            "99999999999",
            "x" * 300,
            "\xe9",
            "{}",
            "=,=",
            " ",
        )
        return self._random.choice(words)


def _images() -> list[bytes]:
    pictures = [encode(picture(1, (40, 32), mode), name) for name in _FORMATS for mode in _MODES]
    progressive = encode(
        picture(2, (64, 64)), "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"
    )
    return [
        *pictures,
        progressive,
        encode(picture(3, (32, 32), "P"), "PNG"),
        _dicom(np.uint16),
        _dicom(np.uint8),
    ]


def _dicom(dtype: type) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24)).astype(dtype)
    dataset = dicoms.header(pixels.shape, dtype)
    dataset.PixelData = pixels.tobytes()
    return dicoms.saved(dataset)


def _texts(images: list[bytes]) -> list[object]:
    encoded = base64.b64encode(images[0]).decode()
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 3, 8, 8], "data": [0] * 192}
    return [
        [{"image": encoded}, {"image": encoded, "request_id": "scan", "tags": {"site": "A"}}],
        [encoded, encoded],
        {"inputs": [tensor], "id": "x", "outputs": [{"name": "predicted"}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded]}]},
        {"prediction_id": "01999999-9999-7999-8999-999999999999", "label": CLASSES[0]},
        [
            {
                "model": "tiny",
                "request_id": "scan",
                "label": CLASSES[1],
                "observed_at": "2026-01-01T00:00:00Z",
            }
        ],
        {"note": "x"},
    ]


def _form(data: bytes) -> bytes:
    head = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\nContent-Type: '
        b"image/png\r\n\r\n"
    )
    return head + data + b"\r\n--b--\r\n"
