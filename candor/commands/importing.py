"""`candor import`: a model that Candor did not train becomes a bundle like any other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from candor.commands.data import WindowOption
from candor.commands.options import (
    JsonOption,
    PromoteOption,
    StoreOption,
    argument,
    option,
    settings,
)

if TYPE_CHECKING:
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.preprocessing import Normalization
    from model_store.foreign.sandbox import Sandbox
    from model_store.foreign.source import ForeignSource


def import_(
    model: Annotated[
        Path,
        argument(
            "An ONNX file, a Hugging Face folder, or weights with --architecture.",
            metavar="MODEL",
        ),
    ],
    name: Annotated[str | None, option("Name in the store (default: the file's).")] = None,
    classes: Annotated[
        str | None,
        option(
            "Names in the order of the model's scores (default: the file's).", metavar="NAMES|FILE"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        option(
            "Labeled images, not from training: FOLDER/CLASS/IMAGE, or a CSV file with path and a "
            "column for each finding. They prove the options, calibrate and measure.",
            metavar="FOLDER|CSV",
        ),
    ] = None,
    promote: PromoteOption = False,
    pixels: Annotated[
        str | None,
        option(
            "imagenet, unit (0 to 1), raw (0 to 255), symmetric (-1 to 1), caffe, clip, mnist, or "
            "numbers as in 255/0.5/0.5 (default: --data tells).",
            metavar="NAME|DIVISOR/MEAN/STD",
        ),
    ] = None,
    channels: Annotated[
        Literal["rgb", "bgr"] | None, option("The color that comes first (default: rgb).")
    ] = None,
    output: Annotated[
        str | None, option("Where there are several: the one with the scores, or edema,mass.")
    ] = None,
    scores: Annotated[
        Literal["softmax", "sigmoid", "logits"] | None,
        option("Where they do not sum to 1: classes that exclude each other, or findings."),
    ] = None,
    size: Annotated[
        str | None,
        option("Where the graph takes any, as in 224x224.", metavar="HEIGHTxWIDTH"),
    ] = None,
    layout: Annotated[
        Literal["nchw", "nhwc", "ncwh", "nwhc"] | None,
        option("Of a vector of colors, or if columns come first."),
    ] = None,
    resize: Annotated[
        str | None,
        option(
            "stretch, crop, or a larger size as in 256x256 whose center is cut out "
            "(default: stretch).",
            metavar="HOW|HEIGHTxWIDTH",
        ),
    ] = None,
    window: WindowOption = None,
    bits: Annotated[
        int | None,
        option("Of gray images of 16 bits, how many hold values.", min=9, max=16),
    ] = None,
    architecture: Annotated[
        str | None, option("Of weights: torchvision/resnet18, timm/convnext_tiny (needs torch).")
    ] = None,
    scope_images: Annotated[
        Path | None,
        option("Unlabeled images for the scope check (default: --data).", metavar="FOLDER"),
    ] = None,
    group_pattern: Annotated[
        str | None, option("Regular expression that finds the patient in a file name.")
    ] = None,
    uncalibrated: Annotated[
        bool, option("Fit no temperature; labels only measure.", "--uncalibrated")
    ] = False,
    anyway: Annotated[
        bool, option("Publish what labels contradict or do not prove.", "--anyway")
    ] = False,
    trusted: Annotated[
        bool, option("Pixels may decide how long the model runs.", "--trusted")
    ] = False,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> object:
    """Publish a model that Candor did not train, with a card, calibrated on labeled images.

    The file is read and run in a process with limits on memory and time.

    Example: candor import c.onnx --classes benign,malignant --pixels imagenet --data labeled
        --name chest --promote
    """
    from candor.terminal.console import note_weaker_bounds
    from candor.terminal.imported import Imported
    from candor.terminal.progress import bars, working
    from model_store.foreign.class_names import given_names
    from model_store.foreign.image_input import InputWishes
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.labeled_folder import read_unlabeled_folder
    from model_store.foreign.model_import import import_source
    from model_store.foreign.sandbox import Sandbox
    from model_store.foreign.truth import read_labeled
    from model_store.lifecycle.canary import promote_version

    if promote and anyway:
        raise typer.BadParameter(
            "labels do not bear out what it publishes: look at that version, then `candor promote` "
            "it",
            param_hint="--anyway",
        )
    cropped = resize not in (None, "stretch", "crop")
    choices = ImportChoices(
        classes=None if classes is None else given_names(classes),
        input=InputWishes(_size("--size", size), layout),
        outputs=() if output is None else tuple(each.strip() for each in output.split(",")),
        scores=scores,
        pixels=None if pixels is None else _normalization(pixels),
        order=channels,
        resize="crop" if cropped or resize == "crop" else "stretch" if resize else None,
        decoded=_size("--resize", resize) if cropped else None,
        window=window,
        bits=bits,
        calibrate=not uncalibrated,
        anyway=anyway,
        trusted=trusted,
    )
    target = settings(store=store).opened_store
    named = name or _name(model)
    target.model(named)  # raises InvalidName before anything else
    with Sandbox(_bytes_of(model)) as sandbox:
        with working(f"Reading {model}"):
            images = None if data is None else read_labeled(data, group_pattern=group_pattern)
            scope = None
            if scope_images is not None:
                scope = read_unlabeled_folder(scope_images, group_pattern=group_pattern)
            source = _source(model, architecture, choices, sandbox)
        note_weaker_bounds()
        with bars() as progress:
            done = import_source(
                source,
                target,
                named,
                sandbox=sandbox,
                choices=choices,
                data=images,
                scope=scope,
                progress=progress,
            )
    if promote:
        promote_version(target, named, done.version)
    made = Imported(done, target.location(named, done.version), promote, images)
    return made.as_dict() if json_out else made


def _source(
    model: Path, architecture: str | None, choices: "ImportChoices", sandbox: "Sandbox"
) -> "ForeignSource":
    """Read the model by what the file holds, whatever its name says."""
    from model_store.foreign.file_content import content_of
    from model_store.foreign.source import CONFIG, ONNX_PLACES, open_source

    content = content_of(model)
    if (content == "weights") != (architecture is not None):
        raise typer.BadParameter(
            f"{model} holds weights without their network: name it, as in --architecture "
            "torchvision/resnet18"
            if content == "weights"
            else f"{model} holds no file of weights, whose network --architecture names",
            param_hint="--architecture",
        )
    if architecture is not None:
        from training.foreign.weights import from_weights

        return from_weights(model, architecture, sandbox, size=choices.input.size)
    if (
        content == "folder"
        and (model / CONFIG).is_file()
        and not any((model / each).is_file() for each in ONNX_PLACES)
    ):
        from training.foreign.hugging_face import from_folder

        return from_folder(model, sandbox, size=choices.input.size)
    return open_source(model, sandbox)


def _bytes_of(model: Path) -> int:
    """The size of a file, or of the largest one in a folder and in those below it."""
    if not model.is_dir():
        return model.stat().st_size if model.is_file() else 0
    files = (each for each in (*model.glob("*"), *model.glob("*/*")) if each.is_file())
    return max((each.stat().st_size for each in files), default=0)


def _normalization(text: str) -> "tuple[str, Normalization]":
    """Read a name, or DIVISOR/MEAN/STD, of which the latter two may be one number or three."""
    from model_store.foreign.preprocessing import NORMALIZATIONS, Normalization

    if text in NORMALIZATIONS:
        return text, NORMALIZATIONS[text]
    try:
        divisor, mean, std = (
            tuple(float(each) for each in part.split(",")) for part in text.split("/")
        )
    except ValueError:
        divisor = mean = std = ()
    if len(divisor) != 1 or not all(0 < each < 1e9 for each in (*divisor, *std)):
        raise typer.BadParameter(
            f"got {text!r}; expected {', '.join(NORMALIZATIONS)}, or DIVISOR/MEAN/STD as in "
            "255/0.485,0.456,0.406/0.229,0.224,0.225, for (pixel / DIVISOR - MEAN) / STD",
            param_hint="--pixels",
        )
    return "given", Normalization(divisor[0], mean, std)


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(each.isdecimal() and int(each) > 0 for each in sides):
        raise typer.BadParameter(
            f"got {text!r}; expected HEIGHTxWIDTH in pixels, as in 224x224", param_hint=option
        )
    return int(sides[0]), int(sides[1])


def _name(model: Path) -> str:
    """Return a model name made of the file's."""
    import re

    stem = model.resolve().stem if model.suffix else model.resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("_.-")[:64] or "model"
