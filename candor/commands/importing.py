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
    from model_store.foreign.class_scores import Reading
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.preprocessing import Normalization
    from model_store.foreign.source import ForeignSource
    from model_store.foreign.truth import LabeledData

ASKS = "Asked for only if neither the file nor labeled images tell"


def import_(
    model: Annotated[
        Path,
        argument(
            "An ONNX file, a Hugging Face folder, a TorchServe archive that holds ONNX, "
            "TorchScript with --size, or weights with --architecture.",
            metavar="MODEL",
        ),
    ],
    name: Annotated[
        str | None, option("Name of the model in the store (default: the file's name).")
    ] = None,
    classes: Annotated[
        str | None,
        option(
            "Class names in the order of the model's scores, with commas between, or a file with "
            "one on each line.",
            metavar="NAMES|FILE",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        option(
            "Labeled images, not from training: FOLDER/CLASS/IMAGE, or a CSV file with the column "
            "path and one for each finding (1, 0, or blank for unknown). One half fits the "
            "calibration, the other measures it. Without them the model is published uncalibrated.",
            metavar="FOLDER|CSV",
        ),
    ] = None,
    scope_images: Annotated[
        Path | None,
        option(
            "Unlabeled images like those that the model was made for, not from training, to fit "
            "the scope check on (default: those of --data).",
            metavar="FOLDER",
        ),
    ] = None,
    promote: PromoteOption = False,
    normalize: Annotated[
        str | None,
        option(
            f"{ASKS}: how pixels are scaled, one of imagenet, unit (0 to 1), symmetric (-1 to 1), "
            "raw (0 to 255), caffe, clip, mnist."
        ),
    ] = None,
    divisor: Annotated[
        float | None, option("Instead of --normalize: pixels are divided by this first.")
    ] = None,
    mean: Annotated[
        str | None, option("... then this is subtracted, one number or three: 0.5,0.5,0.5.")
    ] = None,
    std: Annotated[
        str | None, option("... then they are divided by this, one number or three.")
    ] = None,
    channels: Annotated[
        Literal["rgb", "bgr"] | None, option(f"{ASKS}: the color that comes first.")
    ] = None,
    size: Annotated[
        str | None,
        option(f"{ASKS}: size of the model's input, as in 224x224.", metavar="HEIGHTxWIDTH"),
    ] = None,
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        option(f"{ASKS}: whether channels come before or after the pixels."),
    ] = None,
    resize: Annotated[
        Literal["stretch", "crop"] | None,
        option("How an image gets that size (default: stretch, or what does better)."),
    ] = None,
    crop_from: Annotated[
        str | None,
        option(
            "Resize to this, larger size and cut the model's size out of the center, as in "
            "256x256.",
            metavar="HEIGHTxWIDTH",
        ),
    ] = None,
    window: WindowOption = None,
    bits: Annotated[
        int | None,
        option(
            f"{ASKS}: how many bits of gray images of 16 hold values. Then raw pixels, --divisor "
            "and --mean are of values of that many bits.",
            min=9,
            max=16,
        ),
    ] = None,
    output: Annotated[
        str | None,
        option(f"{ASKS}: the output with the scores, or several of one score each: edema,mass."),
    ] = None,
    exclusive: Annotated[
        bool, option(f"{ASKS}: each image has exactly one of the classes.", "--exclusive")
    ] = False,
    findings: Annotated[
        str | None,
        option(
            f"{ASKS}: each score is of a finding that may be present or absent. Their names, as "
            "in --classes or with | between.",
            metavar="NAMES|FILE",
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        option(
            "The network of a file of weights: torchvision/resnet18, timm/convnext_tiny and so on. "
            "Needs torch."
        ),
    ] = None,
    group_pattern: Annotated[
        str | None,
        option(
            "Regular expression that finds the patient in a file name; images of one patient stay "
            "in one half. DICOM files name theirs."
        ),
    ] = None,
    uncalibrated: Annotated[
        bool, option("Fit no temperature; labeled images only measure.", "--uncalibrated")
    ] = False,
    anyway: Annotated[
        bool, option("Also publish a model that is no better than a constant answer.", "--anyway")
    ] = False,
    trusted: Annotated[
        bool,
        option(
            "You trust who made the model: pixels may decide how long it runs and how much memory "
            "it takes.",
            "--trusted",
        ),
    ] = False,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> object:
    """Publish a model that Candor did not train, with a card, calibrated on labeled images.

    The graph and a few runs tell what goes in and what comes out; what was found
    is printed. The file runs in a process with limits on memory and time.

    Example: candor import classifier.onnx --classes benign,malignant --data labeled --name chest
        --promote
    """
    from candor.terminal.console import note_weaker_bounds
    from candor.terminal.imported import Imported
    from candor.terminal.progress import bars, working
    from model_store.foreign.class_names import given_names
    from model_store.foreign.image_input import InputWishes
    from model_store.foreign.import_choices import ImportChoices
    from model_store.foreign.labeled_folder import read_unlabeled_folder
    from model_store.foreign.model_import import import_source
    from model_store.foreign.preprocessing_decision import PreprocessingWishes
    from model_store.foreign.truth import read_labeled
    from model_store.lifecycle.canary import promote_version

    reading, named_by = _reading(classes, findings, exclusive=exclusive)
    choices = ImportChoices(
        classes=None if named_by is None else given_names(named_by),
        input=InputWishes(
            _size("--size", size), None, None if layout is None else layout == "nhwc"
        ),
        outputs=() if output is None else tuple(each.strip() for each in output.split(",")),
        reading=reading,
        preprocessing=PreprocessingWishes(
            _normalization(normalize, divisor, mean, std),
            channels,
            resize,
            _size("--crop-from", crop_from),
            window,
            bits,
        ),
        calibrate=not uncalibrated,
        anyway=anyway,
        trusted=trusted,
    )
    target = settings(store=store).opened_store
    named = name or _name(model)
    target.model(named)  # raises InvalidName before anything else
    with working(f"Reading {model}"):
        images = None if data is None else read_labeled(data, group_pattern=group_pattern)
        scope = None
        if scope_images is not None:
            scope = read_unlabeled_folder(scope_images, group_pattern=group_pattern)
        source = _source(model, architecture, choices, images)
    note_weaker_bounds()
    with bars() as progress:
        done = import_source(
            source, target, named, choices=choices, data=images, scope=scope, progress=progress
        )
    if promote:
        promote_version(target, named, done.version)
    made = Imported(done, target.location(named, done.version), promote, images)
    return made.as_dict() if json_out else made


def _source(
    model: Path, architecture: str | None, choices: "ImportChoices", images: "LabeledData | None"
) -> "ForeignSource":
    """Read the model by what the file holds, whatever its name says."""
    from model_store.foreign.file_content import content_of
    from model_store.foreign.labeled_folder import common_size
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

        return from_weights(model, architecture, size=choices.input.size)
    if content == "torchscript":
        from training.foreign.torchscript import from_torchscript

        size = choices.input.size or (images and common_size(images.paths))
        return from_torchscript(model, size=size or None)
    if (
        content == "folder"
        and (model / CONFIG).is_file()
        and not any((model / each).is_file() for each in ONNX_PLACES)
    ):
        from training.foreign.hugging_face import from_folder

        return from_folder(model, size=choices.input.size)
    return open_source(model)


def _reading(
    classes: str | None, findings: str | None, *, exclusive: bool
) -> "tuple[Reading | None, str | None]":
    """What the classes are, if the caller says so, and their names."""
    if findings is not None and (classes is not None or exclusive):
        raise typer.BadParameter(
            "findings have their names here, and exclude nothing: leave --classes and --exclusive "
            "out",
            param_hint="--findings",
        )
    if findings is not None:
        return "findings", findings
    return ("exclusive" if exclusive else None), classes


def _normalization(
    name: str | None, divisor: float | None, mean: str | None, std: str | None
) -> "tuple[str, Normalization] | None":
    from model_store.foreign.preprocessing import NORMALIZATIONS, Normalization

    numbers = (divisor, mean, std)
    if name is not None and any(each is not None for each in numbers):
        raise typer.BadParameter(
            "give either a name or --divisor, --mean and --std", param_hint="--normalize"
        )
    if name is not None:
        if name not in NORMALIZATIONS:
            raise typer.BadParameter(
                f"got {name!r}; expected {', '.join(NORMALIZATIONS)}", param_hint="--normalize"
            )
        return name, NORMALIZATIONS[name]
    if all(each is None for each in numbers):
        return None
    if divisor is not None and not divisor > 0:
        raise typer.BadParameter(
            f"got {divisor:g}; pixels are divided by a number above 0", param_hint="--divisor"
        )
    deviations = (1.0,) if std is None else _numbers("--std", std)
    if not all(each > 0 for each in deviations):
        raise typer.BadParameter(f"got {std}; deviations are above 0", param_hint="--std")
    means = (0.0,) if mean is None else _numbers("--mean", mean)
    return "given", Normalization(1.0 if divisor is None else divisor, means, deviations)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"got {text!r}; expected numbers with commas between", param_hint=option
        ) from error


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
