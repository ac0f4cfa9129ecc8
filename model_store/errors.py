"""What can be wrong with a bundle, a store, or an image. Each error says what was got and what to do."""

from pathlib import Path


class ModelStoreError(Exception):
    """Anything this room refuses."""


class ImageError(ModelStoreError):
    """The bytes of a request cannot become the model's input; a fault of the sender."""


class EmptyImage(ImageError):
    """No bytes at all."""

    def __init__(self) -> None:
        super().__init__("the body is empty: send the bytes of one image")


class UnknownImage(ImageError):
    """The bytes are in no image format that Candor reads."""

    def __init__(self, formats: tuple[str, ...]) -> None:
        super().__init__(f"the body is not an image: send one of {', '.join(formats)}")


class BrokenImage(ImageError):
    """The bytes begin as an image and do not go on as one."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the image is damaged or cut short ({reason}): send it again from the original")


class ImageTooLarge(ImageError):
    """The image's header announces more pixels than are decoded."""

    def __init__(self, width: int, height: int, max_pixels: int) -> None:
        super().__init__(
            f"the image is {width} x {height} pixels, the limit is {max_pixels} in all: scale it down first"
        )


class UnsupportedImage(ImageError):
    """An image of a kind that Candor does not read: a compression, several frames, no pixels."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"the image is {found}: send {expected}")


class BundleError(ModelStoreError):
    """A bundle is not what its card says."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"bundle {folder.parent.name}/{folder.name} is refused: {reason}")
        self.folder = folder
        self.reason = reason


class CardError(BundleError):
    """card.json is not JSON, or does not follow the schema of a known format version."""


class FileError(BundleError):
    """A file is missing, altered, or named so that it would leave the bundle's folder."""


class GraphError(BundleError):
    """model.onnx is not the graph that the contract describes."""


class NotInStore(ModelStoreError):
    """No such model, or no such version."""


class CanaryError(ModelStoreError):
    """No canary can be started, ended or read as things are."""


class InvalidName(ModelStoreError):
    """A model's name that could not be a folder's name and a part of a URL."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is not a model name: use 1 to 64 of a-z, A-Z, 0-9, '_', '-', '.', beginning with a letter"
            " or a digit"
        )
