"""`candor import`: a model that Candor did not train becomes a bundle like any other."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from calibration.wording import parameter
from candor.commands.options import RARE, FilePath, Place, Within, WrongUse, any_store, unused
from candor.commands.verb import verb
from training.load_options import ImageOptions, window_of

if TYPE_CHECKING:
    from candor.terminal.imported import Imported
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.labeled_images import LabeledImages
    from model_store.foreign.preprocessing import Pixels
    from model_store.foreign.sandbox import Sandbox
    from model_store.foreign.source import ForeignSource


@verb
def import_model(
    model: FilePath,
    *,
    name: str | None = None,
    classes: Annotated[str | Sequence[str] | None, "NAMES|FILE"] = None,
    data: Annotated[FilePath | None, "FOLDER|CSV"] = None,
    promote: bool = False,
    pixels: Annotated[str | None, "NAME|DIVISOR/MEAN/STD"] = None,
    channels: Literal["rgb", "bgr"] | None = None,
    output: str | Sequence[str] | None = None,
    scores: Literal["softmax", "sigmoid", "logits"] | None = None,
    size: Annotated[str | Sequence[int] | None, "HEIGHTxWIDTH"] = None,
    resize: Annotated[str | Sequence[int] | None, "HOW|HEIGHTxWIDTH", RARE] = None,
    bits: Annotated[int | None, Within(9, 16), RARE] = None,
    architecture: Annotated[str | None, RARE] = None,
    anyway: bool = False,
    trusted: Annotated[bool, RARE] = False,
    store: Place | None = None,
    **reading: Unpack[ImageOptions],
) -> "Imported":
    """Publish a model that Candor did not train, with a card, calibrated on labeled images.

    The file is read and run in a process with limits on memory and time.

    Example: candor import c.onnx --classes benign,malignant --pixels imagenet --data labeled
        --name chest --promote

    Args:
        model: An ONNX file, a Hugging Face folder, or weights with --architecture.
        name: Name in the store (default: the file's).
        classes: Names in the order of the model's scores (default: the file's).
        data: Labeled images, not from training: FOLDER/CLASS/IMAGE, or a CSV file with path and
            label, or a column for each finding. They prove the options, calibrate and measure.
        pixels: imagenet, unit (0 to 1), raw (0 to 255), symmetric (-1 to 1), caffe, clip, mnist, or
            numbers as in 255/0.5/0.5 or, inverted, 255/1/-1 (default: --data tells).
        channels: The color that comes first (default: rgb).
        output: Where there are several: the one with the scores, or edema,mass.
        scores: Where they do not sum to 1: classes that exclude each other, or findings.
        size: Where the graph takes any, or vectors, as in 224x224.
        resize: stretch, crop, or a larger size as in 256x256 whose center is cut out (default:
            stretch).
        bits: Of gray images of 16 bits, how many hold values.
        architecture: Of weights: torchvision/resnet18, timm/convnext_tiny (needs torch).
        anyway: Publish what labels contradict or do not prove.
        trusted: Pixels may decide how long the model runs.

    Returns:
        The version: `version` and `card`.

    Raises:
        Refused: the file is no model that can be served, what it leaves open is not given, or the
            labels contradict what is.
    """
    from candor.terminal.console import note_weaker_bounds
    from candor.terminal.imported import Imported
    from candor.terminal.progress import bars, working
    from model_store.foreign.class_names import given_names
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.model_import import import_source
    from model_store.foreign.sandbox import Sandbox
    from model_store.store.canary import promote_version

    if promote and anyway:
        raise WrongUse(
            f"{parameter('anyway')}: labels do not bear out what it publishes: look at that "
            "version, then `candor promote` it"
        )
    group, pattern = reading.get("group"), reading.get("group_pattern")
    if data is None:
        of_data = f"there are no labeled images; give {parameter('data')}"
        unused(of_data, group=group, group_pattern=pattern)
    cropped = resize not in (None, "stretch", "crop")
    outputs = output.split(",") if isinstance(output, str) else output or ()
    choices = ImportChoices(
        classes=None if classes is None else given_names(classes),
        size=_size("size", size),
        outputs=tuple(each.strip() for each in outputs),
        scores=scores,
        pixels=None if pixels is None else _normalization(pixels),
        order=channels,
        resize="crop" if cropped or resize == "crop" else "stretch" if resize else None,
        decoded=_size("resize", resize) if cropped else None,
        window=window_of(reading.get("window")),
        bits=bits,
        anyway=anyway,
        trusted=trusted,
    )
    file, target = Path(model), any_store(store)
    named = name or _name(file)
    target.model(named)  # raises InvalidName before anything else
    with Sandbox(_bytes_of(file)) as sandbox:
        with working(f"Reading {file}"):
            images = None
            if data is not None:
                images = labeled_images(Path(data), group=group, pattern=pattern)
            source = _source(file, architecture, choices, sandbox)
        note_weaker_bounds()
        with bars() as progress:
            done = import_source(
                source,
                target,
                named,
                sandbox=sandbox,
                choices=choices,
                data=images,
                progress=progress,
            )
    if promote:
        promote_version(target, named, done.version)
    return Imported(done, target.location(named, done.version), promote, images)


def labeled_images(
    data: Path, *, group: str | None = None, pattern: str | None = None
) -> "LabeledImages":
    """Read labeled images as training does, and divide them; of splits, the test split.

    In a table without the column `label`, every column of 1, 0 and blanks is a finding.
    """
    from model_store.csv_tables import NotCsv, open_csv
    from model_store.foreign.labeled_images import divided
    from training.datasets.csv_table import read_csv
    from training.datasets.errors import BadDataset
    from training.datasets.folder import read_folder
    from training.load_options import LoadOptions, completed

    options = LoadOptions(group=group, group_pattern=pattern)
    if data.is_dir():
        table = read_folder(data, completed(options))
    else:
        try:
            with open_csv(data) as opened:
                labeled = "label" in (each.strip().lower() for each in opened.names)
        except (OSError, NotCsv) as error:
            raise BadDataset(
                data, f"is no folder, as in FOLDER/CLASS/IMAGE, and no CSV table ({error})"
            ) from None
        options |= {"exclusive": True} if labeled else {"findings": "*"}
        table = read_csv(data, completed(options))
    splits = [name for name in ("test", "val", "train", None) if name in table.splits]
    table = table.take([row for row, split in enumerate(table.splits) if split == splits[0]])
    return divided(
        table.root,
        table.paths,
        table.classes,
        table.labels,
        table.columns,
        group=group,
        group_pattern=pattern,
    )


def _source(
    model: Path, architecture: str | None, choices: "ImportChoices", sandbox: "Sandbox"
) -> "ForeignSource":
    """Read the model by what the file holds, whatever its name says."""
    from model_store.foreign.file_content import content_of
    from model_store.foreign.source import CONFIG, ONNX_PLACES, open_source

    content = content_of(model)
    if (content == "weights") != (architecture is not None):
        named = parameter("architecture", "torchvision/resnet18")
        raise WrongUse(
            f"{model} holds weights without their network: name it, as in {named}"
            if content == "weights"
            else f"{model} holds no file of weights, whose network {parameter('architecture')} "
            "names"
        )
    if architecture is not None:
        from training.foreign.weights import from_weights

        return from_weights(model, architecture, sandbox, size=choices.size)
    if (
        content == "folder"
        and (model / CONFIG).is_file()
        and not any((model / each).is_file() for each in ONNX_PLACES)
    ):
        from training.foreign.hugging_face import from_folder

        return from_folder(model, sandbox, size=choices.size)
    return open_source(model, sandbox)


def _bytes_of(model: Path) -> int:
    """The size of a file, or of the largest one in a folder and in those below it."""
    if not model.is_dir():
        return model.stat().st_size if model.is_file() else 0
    files = (each for each in (*model.glob("*"), *model.glob("*/*")) if each.is_file())
    return max((each.stat().st_size for each in files), default=0)


def _normalization(text: str) -> "Pixels":
    """Read a name, or DIVISOR/MEAN/STD, of which the latter two may be one number or three."""
    from model_store.foreign.preprocessing import NORMALIZATIONS, Normalization, Pixels

    if text in NORMALIZATIONS:
        return Pixels(text, NORMALIZATIONS[text])
    try:
        divisor, mean, std = (
            tuple(float(each) for each in part.split(",")) for part in text.split("/")
        )
    except ValueError:
        divisor = mean = std = ()
    if len(divisor) != 1 or not all(0 < abs(each) < 1e9 for each in (*divisor, *std)):
        raise WrongUse(
            f"{parameter('pixels')}: got {text!r}; expected {', '.join(NORMALIZATIONS)}, or "
            "DIVISOR/MEAN/STD as in 255/0.485,0.456,0.406/0.229,0.224,0.225, for (pixel / DIVISOR "
            "- MEAN) / STD"
        )
    return Pixels("given", Normalization(divisor[0], mean, std))


def _size(name: str, given: str | Sequence[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = given.lower().split("x") if isinstance(given, str) else [str(each) for each in given]
    if len(sides) != 2 or not all(each.isdecimal() and int(each) > 0 for each in sides):
        raise WrongUse(
            f"{parameter(name)}: got {given!r}; expected HEIGHTxWIDTH in pixels, as in 224x224"
        )
    return int(sides[0]), int(sides[1])


def _name(model: Path) -> str:
    """Return a model name made of the file's."""
    stem = model.resolve().stem if model.suffix else model.resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("_.-")[:64] or "model"
