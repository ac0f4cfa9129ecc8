"""What a preprocessor_config.json of Transformers says: pixels, size, and how images get it.

What Candor cannot do as that library does is refused by name.
"""

from collections.abc import Mapping
from typing import Any, Final

from model_store.foreign.preprocessing import Normalization, Pixels
from model_store.image import Resample

# Pillow's numbers of its filters.
_FILTERS: Final[Mapping[int, Resample]] = {
    **{0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
}
# Processors whose rules are those below: whether a size that is one number is the shorter edge (or
# both), and the filter if none is written down.
_KNOWN: Final[Mapping[str, tuple[bool, Resample]]] = {
    "": (False, "bilinear"),
    "ViT": (False, "bilinear"),
    "DeiT": (False, "bicubic"),
    "Beit": (False, "bicubic"),
    "Siglip": (False, "bicubic"),
    "CLIP": (True, "bicubic"),
    "Bit": (True, "bicubic"),
    "ConvNext": (True, "bilinear"),
    "MobileNetV1": (True, "bilinear"),
    "MobileNetV2": (True, "bilinear"),
    "MobileViT": (True, "bilinear"),
}
_DONE: Final = frozenset(
    f"do_{what}"
    for what in (
        *("resize", "rescale", "normalize", "center_crop", "convert_rgb"),
        *("flip_channel_order", "reduce_labels"),
    )
)
_WHOLE: Final = 384  # from this edge on ConvNext's processor does not crop


class ProcessorRefused(ValueError):
    """Something that Candor does not do, or cannot tell; the text names it."""


def said_by(processor: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return what the `file` says as fields of ImportChoices.

    Raises ProcessorRefused, and TypeError, ValueError, KeyError, AttributeError or
    ZeroDivisionError for a file that cannot be understood.
    """
    kind = _kind(processor)
    if kind not in _KNOWN:
        raise ProcessorRefused(f"has a {kind} processor, whose rules Candor does not know")
    strange = [key for key in processor if key.startswith("do_") and key not in _DONE]
    if undone := [key for key in strange if processor[key]]:
        raise ProcessorRefused(f"asks for {undone[0]}, which Candor does not do")
    if processor.get("rescale_offset"):
        raise ProcessorRefused("asks for rescale_offset, which Candor does not do")
    flips = processor.get("do_flip_channel_order", kind == "MobileViT")
    said = {
        "pixels": _pixels(processor, kind, file),
        "order": "bgr" if flips else "rgb",
        "resample": _filter(processor.get("resample"), kind),
    }
    return said | _size(processor, kind)


def _kind(processor: Mapping[str, Any]) -> str:
    """The processor's name, without what all of them have in common."""
    said = processor.get("image_processor_type") or processor.get("feature_extractor_type") or ""
    return (
        str(said)
        .removesuffix("Fast")
        .removesuffix("ImageProcessor")
        .removesuffix("FeatureExtractor")
    )


def _filter(number: object, kind: str) -> Resample:
    if number is None:
        return _KNOWN[kind][1]
    if not isinstance(number, int) or number not in _FILTERS:
        raise ProcessorRefused(f"asks for resample {number!r}, which is no filter of Pillow")
    return _FILTERS[number]


def _pixels(processor: Mapping[str, Any], kind: str, file: str) -> Pixels:
    rescaled = processor.get("do_rescale", True)
    divisor = round(1 / float(processor.get("rescale_factor", 1 / 255)), 6) if rescaled else 1.0
    numbers = Normalization(divisor)
    if processor.get("do_normalize", kind != "MobileViT"):
        mean, std = processor.get("image_mean", [0.5]), processor.get("image_std", [0.5])
        numbers = Normalization(divisor, _numbers(mean), _numbers(std))
    return Pixels.named(numbers, file)


def _size(processor: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Size of the input, that to which an image is brought before a crop, and how."""
    crops = bool(processor.get("do_center_crop"))
    if processor.get("do_resize", True) is False:
        if crops:
            raise ProcessorRefused("crops images without resizing them, which Candor does not do")
        return {}
    if "size" not in processor:
        return {}
    whole, edge = _sides(processor["size"], shorter=_KNOWN[kind][0])
    if crops:
        if processor.get("crop_pct") is not None or processor.get("crop_size") is None:
            raise ProcessorRefused("crops the center without a crop_size of its own")
        inner, side = _sides(processor["crop_size"], shorter=False)
        if inner is None:
            raise ProcessorRefused(f"has a crop_size of {side}, of which one side is open")
        outer = whole or (edge, edge)
        if outer[0] < inner[0] or outer[1] < inner[1]:
            raise ProcessorRefused("crops more than the image has, which fills it with black")
        return {"size": inner, "decoded": outer, "resize": "stretch" if whole else "crop"}
    if whole is not None:
        return {"size": whole, "resize": "stretch"}
    if kind != "ConvNext" and processor.get("crop_pct") is None:
        raise ProcessorRefused("resizes the shorter edge and crops nothing, so sizes differ")
    if edge >= _WHOLE:
        return {"size": (edge, edge), "resize": "stretch"}
    larger = int(edge / float(processor.get("crop_pct") or 224 / 256))
    return {"size": (edge, edge), "decoded": (larger, larger), "resize": "crop"}


def _sides(said: Any, *, shorter: bool) -> tuple[tuple[int, int] | None, int]:
    """Return height and width, or else None and the length of the shorter edge."""
    if isinstance(said, int):
        return (None, said) if shorter else ((said, said), said)
    if "height" in said:
        return (int(said["height"]), int(said["width"])), 0
    if set(said) != {"shortest_edge"}:
        raise ProcessorRefused(f"has a size of {said}, which Candor does not do")
    return None, int(said["shortest_edge"])


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (values if isinstance(values, list) else [values]))
