"""The suffixes by which a folder is searched for images, in training and in the client alike.

Only a search needs them: a file that is named gets decoded whatever its suffix, because the decoder
reads the bytes. The list is not in `model_store.image` so that a client that sends files loads
neither NumPy nor Pillow.
"""

from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"}
)
SUFFIX_LIST = ", ".join(sorted(IMAGE_SUFFIXES))  # for messages


def images_below(folder: Path) -> list[Path]:
    """Return the image files anywhere below a folder, sorted, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
