"""Bodies of at most 20 MB that ask for more than they are worth, by route and name."""

import base64
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.builders.bundles import encode
from tests.builders.dicoms import dicom, dicom_frames, header, saved
from tests.builders.hostile_images import (
    SIDE,
    bmp,
    chunk,
    jpeg_of_scans,
    jpeg_with,
    packed_plane,
    png,
    rle_frame,
    tiff,
    webp_canvas,
)

LARGE = 20_000_000
JSON, NDJSON, CSV, FORM = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "multipart/form-data; boundary=b",
)
IMAGE = "/predictions/tiny"
INFER = "/v2/models/tiny/infer"


@dataclass(frozen=True)
class HostileBody:
    """A body, made when it is sent, and where it goes."""

    make: Callable[[], bytes]
    path: str = IMAGE
    content_type: str = "application/octet-stream"

    def headers(self, data: bytes) -> dict[str, str]:
        """The headers of a request with this body."""
        found = {"Content-Type": self.content_type}
        if self.path == INFER and self.content_type != JSON:
            found["Inference-Header-Content-Length"] = str(data.index(b"}}]}") + 4)
        return found


def _solid(
    image_format: str, mode: str, width: int = SIDE, height: int = SIDE, **options: object
) -> bytes:
    return encode(Image.new(mode, (width, height)), image_format, **options)


def _text_bomb(kind: bytes) -> bytes:
    marker = b"a\0\0" if kind != b"iTXt" else b"a\0\1\0\0\0"
    return chunk(kind, marker + zlib.compress(bytes(2**20 - 1), 9))


def _fill(piece: bytes, size: int = LARGE) -> bytes:
    return piece * (size // len(piece))


def _elements(count: int) -> bytes:
    """So many empty DICOM elements of different tags."""
    tags = np.arange(0x00090000, 0x00090000 + count, dtype="<u4")
    empty = np.zeros((count, 12), np.uint8)
    empty[:, :4] = np.ascontiguousarray(tags.view("<u2").reshape(-1, 2)[:, ::-1]).view(np.uint8)
    empty[:, 4:6] = list(b"UN")
    return empty.tobytes()


def _in_dicom(inserted: bytes, *, shape: tuple[int, int] = (8, 8)) -> bytes:
    data = dicom(np.zeros(shape, np.uint8))
    at = data.index(b"\x10\x00\x20\x00LO")
    return data[:at] + inserted + data[at:]


def _nested_sequences(depth: int) -> bytes:
    begin = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return _in_dicom(begin * depth)


def _rle(rows: int, columns: int, planes: int = 2) -> bytes:
    frame = rle_frame(*(packed_plane(rows * columns, 7 * plane) for plane in range(planes)))
    return dicom_frames(
        [frame], RLELossless, (rows, columns), np.uint16 if planes == 2 else np.uint8
    )


def _jpeg2000(side: int) -> bytes:
    frame = encode(Image.new("L", (side, side)), "JPEG2000", no_jp2=True)
    return dicom_frames([frame], JPEG2000Lossless, (side, side), np.uint8)


def _tiles_2000() -> bytes:
    """A JPEG 2000 codestream whose header says 7000 x 7000 tiles of one pixel."""
    size = struct.pack(">HIIIIIIIIH", 0, 7000, 7000, 0, 0, 1, 1, 0, 0, 1) + b"\x07\x01\x01"
    coding = b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x00\x04\x04\x00\x01"
    head = (
        b"\xff\x4f\xff\x51"
        + struct.pack(">H", len(size) + 2)
        + size
        + coding
        + b"\xff\x5c\x00\x04\x40\x40"
    )
    return head + b"\xff\x90\x00\x0a\x00\x00\x00\x00\x00\x0e\x00\x01\xff\x93" * 100_000


def _fragments(count: int, table: bytes = b"") -> bytes:
    """A DICOM image in run lengths, cut into so many empty fragments, behind an offset table."""
    data = dicom_frames([rle_frame(packed_plane(64, 0))], RLELossless, (8, 8), np.uint8)
    at = data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    item = b"\xfe\xff\x00\xe0"
    pieces = item + struct.pack("<I", len(table)) + table + (item + bytes(4)) * count
    return data[:at] + pieces + b"\xfe\xff\xdd\xe0\0\0\0\0"


def _dicom_jpeg(side: int) -> bytes:
    frame = encode(Image.new("RGB", (side, side)), "JPEG")
    tags = {"PhotometricInterpretation": "YBR_FULL_422"}
    return dicom_frames([frame], JPEGBaseline8Bit, (side, side, 3), np.uint8, **tags)


def _wide_dicom() -> bytes:
    return dicom(np.zeros((3000, 3000), np.uint16), WindowCenter=1, WindowWidth=1)


def _lookup_dicom() -> bytes:
    dataset = header((8, 8), np.uint8)
    dataset.WindowCenter = [1.0] * 100_000
    dataset.WindowWidth = [1.0] * 100_000
    dataset.add_new("PixelData", "OB", bytes(64))
    return saved(dataset)


def _strips(count: int) -> bytes:
    return tiff(
        count,
        1,
        tags={273: (4, [8] * count), 279: (4, [1] * count), 278: (4, [1]), 257: (4, [count])},
    )


def _deflated_tiff(compression: int, packed: bytes) -> bytes:
    return tiff(SIDE, SIDE, tags={259: (3, [compression]), 279: (4, [len(packed)])}, pixels=packed)


def _zeros_deflated(count: int) -> bytes:
    packer, packed = zlib.compressobj(9), []
    for _ in range(count // 2**22 + 1):
        packed.append(packer.compress(bytes(2**22)))
    return b"".join([*packed, packer.flush()])


def _animated_webp(frames: int) -> bytes:
    images = [Image.new("RGB", (64, 64), (n % 256, 0, 0)) for n in range(frames)]
    return encode(images[0], "WEBP", save_all=True, append_images=images[1:])


def _form(part: bytes, count: int) -> bytes:
    return part * count + b"--b--\r\n"


def _file(content: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + content
        + b"\r\n"
    )


def _tensor(data: str, *, shape: str = "[1,3,8,8]", datatype: str = "UINT8") -> bytes:
    return (
        f'{{"inputs":[{{"name":"image","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}'
    ).encode()


def _binary_tensor(payload: bytes, shape: str, datatype: str) -> bytes:
    return (
        '{"inputs":[{"name":"image","datatype":"%s","shape":%s,"parameters":{"binary_data_size":%d}}]}'  # noqa: UP031
        % (datatype, shape, len(payload))
    ).encode() + payload


IMAGES: dict[str, Callable[[], bytes]] = {
    "bmp-rle8-wide": lambda: bmp(50_000_000, 1, compression=1, pixels=b"\0\0" * 300),
    "bmp-rle8-end-of-lines": lambda: bmp(7000, 7000, compression=1, pixels=b"\0\0" * 7000),
    "bmp-rle4": lambda: bmp(7000, 7000, compression=2, bits=4, pixels=b"\xff\x11" * 100_000),
    "bmp-high": lambda: bmp(1, 50_000_000, compression=0),
    "bmp-bits": lambda: bmp(50_000_000, 1, compression=0, bits=1, pixels=bytes(6_250_000)),
    "bmp-2-gigapixels": lambda: bmp(2_000_000_000, 1, compression=0),
    "gif-large": lambda: _solid("GIF", "L"),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg">' + b"<g>" * 1_000_000,
    "zeros": lambda: bytes(LARGE),
    "jpeg-scans-16000": lambda: jpeg_of_scans(16_000),
    "jpeg-scans-90-of-49-megapixels": lambda: jpeg_of_scans(90, side=SIDE),
    "jpeg-large": lambda: _solid("JPEG", "RGB"),
    "jpeg-large-progressive": lambda: _solid("JPEG", "RGB", progressive=True, subsampling=0),
    "jpeg-large-cmyk": lambda: _solid("JPEG", "CMYK"),
    "jpeg-wide": lambda: _solid("JPEG", "L", 65_000, 768),
    "jpeg-cut": lambda: _solid("JPEG", "RGB")[:2000],
    "jpeg-fill-bytes": lambda: b"\xff\xd8" + b"\xff" * LARGE,
    "jpeg-comments": lambda: jpeg_with(*[(0xFE, b"")] * 2_000_000),
    "jpeg-photoshop": lambda: jpeg_with(
        *[(0xED, b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5000)] * 300
    ),
    "jpeg-exif": lambda: jpeg_with(
        *[
            (
                0xE1,
                b"Exif\0\0II*\0\x08\0\0\0"
                + struct.pack("<H", 5000)
                + b"\x12\x01\x03\0\1\0\0\0\1\0\0\0" * 5000,
            )
        ]
        * 100
    ),
    "jpeg-icc": lambda: jpeg_with(*[(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))] * 300),
    "jpeg-zeros-after": lambda: _solid("JPEG", "RGB", 64, 64) + bytes(LARGE),
    "png-large": lambda: png(SIDE, SIDE),
    "png-large-rgba": lambda: png(SIDE, SIDE, color=6),
    "png-large-16-bit-rgba": lambda: png(SIDE, SIDE, color=6, depth=16),
    "png-large-gray-16": lambda: png(SIDE, SIDE, color=0, depth=16),
    "png-large-1-bit": lambda: png(SIDE, SIDE, color=0, depth=1),
    "png-large-palette-transparent": lambda: png(SIDE, SIDE, color=3),
    "png-large-interlaced": lambda: png(SIDE, SIDE, interlace=1),
    "png-wide": lambda: png(50_000_000, 1, color=0),
    "png-high": lambda: png(1, 50_000_000, color=0),
    "png-texts": lambda: png(64, 64, extra=[_text_bomb(b"zTXt")] * 63),
    "png-more-texts": lambda: png(64, 64, extra=[_text_bomb(b"zTXt")] * 10_000),
    "png-international-texts": lambda: png(64, 64, extra=[_text_bomb(b"iTXt")] * 63),
    "png-profile": lambda: png(64, 64, extra=[chunk(b"iCCP", b"a\0\0" + _zeros_deflated(2**28))]),
    "png-chunks": lambda: png(64, 64, extra=[chunk(b"teSt", b"")] * 1_600_000),
    "png-chunks-19000": lambda: png(64, 64, extra=[chunk(b"tEXt", b"a\0" + bytes(1000))] * 19_000),
    "png-more-pixels-than-announced": lambda: (
        png(64, 64)[:-12] + chunk(b"IDAT", _zeros_deflated(2**30)) + chunk(b"IEND", b"")
    ),
    "webp-34-bytes": lambda: webp_canvas(16_383, 16_383),
    "webp-canvas-49-megapixels": lambda: webp_canvas(SIDE, SIDE),
    "webp-large": lambda: _solid("WEBP", "RGB"),
    "webp-large-lossless": lambda: _solid("WEBP", "RGBA", lossless=True),
    "webp-extended-canvas": lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6,
    "webp-frames": lambda: _animated_webp(300),
    "tiff-tiles-over-the-edge": lambda: tiff(
        16,
        1024,
        tags={322: (4, [3_100_000]), 323: (4, [16]), 324: (4, [8] * 64), 325: (4, [16] * 64)},
    ),
    "tiff-strips-of-one-row": lambda: tiff(
        1, 50_000_000, tags={278: (4, [1]), 273: (4, [8]), 279: (4, [1])}
    ),
    "tiff-strips-of-one-row-deflated": lambda: tiff(
        1,
        50_000_000,
        tags={259: (3, [8]), 278: (4, [1]), 273: (4, [8] * 7000), 279: (4, [9] * 7000)},
    ),
    "tiff-strips-100000": lambda: _strips(100_000),
    "tiff-strips-2000000": lambda: _strips(2_000_000),
    "tiff-large": lambda: tiff(SIDE, SIDE, tags={}),
    "tiff-deflate": lambda: _deflated_tiff(8, _zeros_deflated(SIDE * SIDE)),
    "tiff-zstd": lambda: _solid("TIFF", "L", compression="zstd"),
    "tiff-packbits": lambda: _deflated_tiff(32773, packed_plane(SIDE * SIDE, 0)),
    "tiff-jpeg": lambda: _solid("TIFF", "RGB", compression="jpeg"),
    "tiff-lzma": lambda: _solid("TIFF", "L", compression="lzma"),
    "tiff-fax": lambda: _solid("TIFF", "1", compression="group4"),
    "tiff-16-bit-inverted": lambda: tiff(
        SIDE, 2000, tags={258: (3, [16]), 262: (3, [0])}, pixels=bytes(SIDE * 1000)
    ),
    "tiff-entries": lambda: (
        b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + b"\x0e\x01\x02\0\1\0\0\0\0\0\0\0" * 65_535
    ),
    "tiff-circle": lambda: tiff(8, 8, tags={34665: (4, [72])}, pixels=bytes(64)),
    "tiff-long-tag": lambda: tiff(8, 8, tags={33432: (4, [0] * 4_000_000)}, pixels=bytes(64)),
    "tiff-cut": lambda: b"II*\0\xff\xff\xff\x7f",
    "bigtiff": lambda: b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + struct.pack("<Q", 2**40),
    "dicom-rle-49-megapixels": lambda: _rle(SIDE, SIDE),
    "dicom-rle-28-megapixels": lambda: _rle(4000, SIDE),
    "dicom-rle-8-bit": lambda: _rle(SIDE, SIDE, planes=1),
    "dicom-jpeg2000": lambda: _jpeg2000(4000),
    "dicom-jpeg-color": lambda: _dicom_jpeg(4000),
    "dicom-native": _wide_dicom,
    "dicom-32-bit": lambda: dicom(np.zeros((2000, 2000), np.uint32)),
    "dicom-frames": lambda: dicom(np.zeros((8, 8), np.uint8), frames=200_000),
    "dicom-elements": lambda: _in_dicom(_elements(1_600_000)),
    "dicom-nested-1000": lambda: _nested_sequences(1000),
    "dicom-nested-1000000": lambda: _nested_sequences(1_000_000),
    "dicom-many-windows": _lookup_dicom,
    "dicom-long-text": lambda: _in_dicom(
        b"\x09\x00\x10\x10UT\0\0" + struct.pack("<I", 19_000_000) + _fill(b"a\\", 19_000_000)
    ),
    "dicom-no-pixels": lambda: b"\0" * 128 + b"DICM" + bytes(LARGE),
    "dicom-fragments": lambda: _fragments(1_200_000),
    "dicom-offset-table": lambda: _fragments(1, table=bytes(16_000_000)),
    "dicom-jpeg-of-scans": lambda: dicom_frames(
        [jpeg_of_scans(16_000)], JPEGBaseline8Bit, (SIDE, SIDE), np.uint8
    ),
    "dicom-jpeg2000-of-tiles": lambda: dicom_frames(
        [_tiles_2000()], JPEG2000Lossless, (7000, 7000), np.uint8
    ),
    "dicom-deflated-bomb": lambda: (
        saved(header((8, 8), np.uint8), "1.2.840.10008.1.2.1.99") + _zeros_deflated(2**30)
    ),
    "ppm-large": lambda: b"P6 7000 7000 255\n" + bytes(LARGE),
    "ppm-text": lambda: b"P3 2000 2000 255\n" + _fill(b"1 "),
    "jpeg2000-of-tiles": _tiles_2000,
    "webp-chunks": lambda: b"RIFF" + struct.pack("<I", LARGE) + b"WEBP" + _fill(b"XXXX\0\0\0\0"),
    "gif-blocks": lambda: b"GIF89a\x58\x1b\x58\x1b\0\0\0" + _fill(b"!\xfe\0"),
    "dicom-deflated": lambda: saved(header((8, 8), np.uint8), "1.2.840.10008.1.2.1.99"),
}
LISTS: dict[tuple[str, str], dict[str, Callable[[], bytes]]] = {
    (IMAGE, JSON): {
        "json-zeros": lambda: b"[" + _fill(b"0,") + b"0]",
        "json-lists": lambda: b"[" + _fill(b"[],") + b"[]]",
        "json-objects": lambda: b"[" + _fill(b'{"a":0},') + b"{}]",
        "json-deep": lambda: _fill(b"["),
        "json-zeros-inside-one": lambda: b'[{"image":"","more":[' + _fill(b"0,") + b"0]}]",
        "json-keys": lambda: b"[{" + b",".join(b'"%d":0' % n for n in range(1_600_000)) + b"}]",
        "json-one-text": lambda: b'["' + _fill(b"A") + b'"]',
        "json-escapes": lambda: b'["' + _fill(b"\\u00e9") + b'"]',
        "json-line-breaks": lambda: b"[" + _fill(b"\n") + b"]",
        "json-number": lambda: b"[" + _fill(b"9") + b"]",
        "json-fraction": lambda: b"[0." + _fill(b"9", 60_000_000) + b"]",
        "json-number-in-object": lambda: b'{"a":' + _fill(b"9") + b"}",
        "json-utf16": lambda: ("[" + "0," * 4_999_000 + "0]").encode("utf-16"),
        "json-bombs": lambda: json.dumps(
            [base64.b64encode(_solid("PNG", "L")).decode()] * 64
        ).encode(),
        "json-exponents": lambda: b"[" + b"1e999999999," * 10_000 + b"0]",
        "json-surrogates": lambda: b'["' + _fill(b"\\ud800") + b'"]',
        "json-nested-in-image": lambda: b'[{"image":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        "json-padding": lambda: b'["' + _fill(b"=") + b'"]',
    },
    (IMAGE, NDJSON): {
        "ndjson-ones": lambda: _fill(b"1\n"),
        "ndjson-breaks": lambda: _fill(b"\n"),
        "ndjson-one-line": lambda: b"[" + _fill(b"0,") + b"0]\n",
        "ndjson-deep": lambda: (b"[" * 60_000 + b"\n") * 300,
        "ndjson-texts": lambda: (b'"' + b"A" * 78_000 + b'"\n') * 250,
        "ndjson-numbers": lambda: (b"9" * 78_000 + b"\n") * 250,
    },
    (IMAGE, FORM): {
        "form-100000-names": lambda: (
            b"".join(
                b'--b\r\nContent-Disposition: form-data; name="%d"; filename="%d"\r\n\r\n\r\n'
                % (n, n)
                for n in range(100_000)
            )
            + b"--b--\r\n"
        ),
        "form-disposition": lambda: (
            b'--b\r\nContent-Disposition: form-data; name="'
            + _fill(b'\\"', 4_000)
            + b'"\r\n\r\n\r\n--b--\r\n'
        ),
        "form-parts": lambda: _form(_file(b""), 280_000),
        "form-files": lambda: _form(_file(png(8, 8)), 256),
        "form-tags": lambda: _form(
            b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nsite=A\r\n', 320_000
        ),
        "form-head": lambda: (
            b"--b\r\nContent-Disposition: form-data; " + _fill(b"a=b; ") + b"\r\n\r\n\r\n--b--"
        ),
        "form-heads": lambda: b"--b\r\n" + _fill(b"X: y\r\n"),
        "form-cut": lambda: _file(bytes(LARGE)),
        "form-transfer-encoding": lambda: (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
            + _fill(b"=41")
            + b"\r\n--b--\r\n"
        ),
        "form-large": lambda: _form(_file(png(SIDE, SIDE)), 8),
    },
    (IMAGE, "multipart/form-data; boundary=" + "a" * 69 + "b"): {
        "form-almost-boundaries": lambda: _file(_fill(b"\r\n--a")) + b"--b--\r\n"
    },
    ("/feedback", JSON): {
        "feedback-one-text": lambda: b'[{"label":"' + _fill(b"a", 8_000_000) + b'"}]',
        "feedback-zeros": lambda: b"[" + _fill(b"0,", 8_000_000) + b"0]",
        "feedback-inside-one": lambda: b'[{"label":[' + _fill(b"0,", 8_000_000) + b"0]}]",
        "feedback-deep": lambda: _fill(b"[", 8_000_000),
        "feedback-20-megabytes": lambda: b"[" + _fill(b"0,") + b"0]",
    },
    ("/feedback", NDJSON): {
        "feedback-ndjson-deep": lambda: (b"[" * 60_000 + b"\n") * 300,
        "feedback-ndjson": lambda: _fill(b"1\n"),
        "feedback-ndjson-long": lambda: _fill(b'{"label":"'),
        "feedback-ndjson-lists": lambda: (b"[" + b"[]," * 20_000 + b"[]]\n") * 330,
    },
    ("/feedback", CSV): {
        "feedback-csv-nulls": lambda: b"label,prediction_id\n" + bytes(LARGE),
        "feedback-csv-marks": lambda: b"label,prediction_id\n" + (b"'" * 60_000 + b",b\n") * 320,
        "feedback-csv-quote": lambda: b'label,prediction_id\n"' + _fill(b"a\n"),
        "feedback-csv-quotes": lambda: b"label,prediction_id\n" + _fill(b'"\n'),
        "feedback-csv-rows": lambda: b"label,prediction_id\n" + _fill(b"a,b\n"),
    },
    ("/predictions-log", CSV): {
        "log-csv-quote": lambda: b'model,request_id\n"' + _fill(b"a\n"),
        "log-csv-json-cells": lambda: (
            b"model,request_id,probabilities\n" + (b'm,a,"[' + b"[]," * 20_000 + b'[]]"\n') * 300
        ),
    },
    ("/models/tiny/report/reset", JSON): {"reset-deep": lambda: _fill(b"[", 8_000_000)},
    (INFER, JSON): {
        "infer-long-id": lambda: b'{"id":"' + _fill(b"a") + b'","inputs":[]}',
        "infer-zeros": lambda: _tensor("[" + "0," * 9_990_000 + "0]"),
        "infer-zeros-fitting": lambda: _tensor(
            "[" + "0," * (192 * 256 - 1) + "0]", shape="[256,3,8,8]"
        ),
        "infer-lists": lambda: _tensor("[" + "[]," * 6_600_000 + "[]]"),
        "infer-fractions": lambda: _tensor("[" + "0.5," * 4_990_000 + "0]"),
        "infer-deep": lambda: _tensor("[" * LARGE),
        "infer-huge-number": lambda: _tensor("[1" + "0" * 400 + "]"),
        "infer-huge-shape": lambda: _tensor("[0]", shape="[1, 1" + "0" * 30 + "]"),
        "infer-inputs": lambda: b'{"inputs":[' + _fill(b"{},") + b"{}]}",
        "infer-parameters": lambda: (
            b'{"parameters":{'
            + b",".join(b'"%d":0' % n for n in range(1_600_000))
            + b'},"inputs":[]}'
        ),
    },
    ("/predictions-log", JSON): {
        "log-zeros": lambda: b"[" + _fill(b"0,", 8_000_000) + b"0]",
        "log-objects": lambda: b"[" + _fill(b"{},", 8_000_000) + b"{}]",
        "log-probabilities": lambda: (
            b'[{"model":"m","request_id":"a","probabilities":[' + _fill(b"0,", 8_000_000) + b"0]}]"
        ),
        "log-tags": lambda: (
            b'[{"tags":{' + b",".join(b'"%d":"a"' % n for n in range(600_000)) + b"}}]"
        ),
    },
    ("/predictions-log", NDJSON): {"log-ndjson": lambda: _fill(b"{}\n")},
    ("/models-log", JSON): {
        "models-log-classes": lambda: (
            b'{"model":"m","classes":[' + _fill(b'"a",', 8_000_000) + b'"a"]}'
        ),
        "models-log-deep": lambda: _fill(b'{"model":', 8_000_000),
    },
    ("/models/tiny/report/acknowledge", JSON): {
        "acknowledge-zeros": lambda: b"[" + _fill(b"0,", 8_000_000) + b"0]"
    },
    (INFER, "application/octet-stream"): {
        "infer-empty-elements": lambda: _binary_tensor(bytes(LARGE - 200), "[1]", "BYTES"),
        "infer-bomb": lambda: _binary_tensor(
            b"".join(struct.pack("<I", len(image)) + image for image in [_solid("PNG", "L")] * 32),
            "[32]",
            "BYTES",
        ),
    },
}
BODIES: dict[str, HostileBody] = {
    **{name: HostileBody(make) for name, make in IMAGES.items()},
    **{
        name: HostileBody(make, path, content_type)
        for (path, content_type), bodies in LISTS.items()
        for name, make in bodies.items()
    },
}
