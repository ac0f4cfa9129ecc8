"""One list of suffixes, those of the formats that the decoder reads."""

from pathlib import Path

from PIL import Image

from candor.predictions.image_files import image_files
from model_store.image import FORMATS
from model_store.image.suffixes import IMAGE_SUFFIXES, images_below


def test_every_suffix_belongs_to_a_format_that_is_decoded() -> None:
    known = Image.registered_extensions()
    formats = {suffix: known.get(suffix, "DICOM") for suffix in IMAGE_SUFFIXES}
    assert set(formats.values()) == {*FORMATS, "DICOM"}


def test_training_and_the_client_find_the_same_files(tmp_path: Path) -> None:
    for name in ("a.dicom", "b.DCM", "c.txt", ".d.png", "e.png"):
        (tmp_path / name).touch()
    assert [path.name for path in images_below(tmp_path)] == ["a.dicom", "b.DCM", "e.png"]
    assert image_files([tmp_path]) == images_below(tmp_path)
