"""From a foreign model to a published bundle: inspect, wrap, calibrate, measure, verify."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.calibrators.temperature import at_bound, fit_temperature
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card, InputReference
from model_store.bundle.data_dependence import data_dependence
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.card import CardFigures, build_card, measure, uncalibrated
from model_store.foreign.class_names import ClassNames, check_names, find_names
from model_store.foreign.image_input import ImageInput, InputWishes
from model_store.foreign.inspection import Inspection, ModelWishes, inspect_model
from model_store.foreign.labeled_folder import (
    LabeledImages,
    common_size,
    decoded,
    read_labeled_folder,
)
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.preprocessing_choice import (
    Logits,
    PreprocessingTrial,
    Progress,
    Run,
    spec_of,
)
from model_store.foreign.preprocessing_decision import PreprocessingWishes, decide
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.scope_features import with_scope_check
from model_store.foreign.source import ForeignSource, open_source
from model_store.foreign.verification import Difference, verify
from model_store.foreign.wrapping import LOGITS, NATIVE, wrap
from model_store.image.brightness import brightness
from model_store.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ImportChoices:
    """What the caller decides; what is None is found out.

    Attributes:
        classes: names in the order of the model's scores.
        input: size, channels and layout of the input.
        output: the output to take.
        exclusive: whether exactly one of several independent probabilities is right.
        preprocessing: scale, order of channels, and size.
        calibrate: whether to fit a temperature on the labeled images.
        anyway: whether to publish a model that is no better than a constant answer.
        trusted: whether pixels may decide how long the graph runs and how much memory it takes.
    """

    classes: ClassNames | None = None
    input: InputWishes = field(default_factory=InputWishes)
    output: str | None = None
    exclusive: bool = False
    preprocessing: PreprocessingWishes = field(default_factory=PreprocessingWishes)
    calibrate: bool = True
    anyway: bool = False
    trusted: bool = False


@dataclass(frozen=True)
class ImportedModel:
    """A published import.

    Attributes:
        card, version: of the bundle.
        findings: what was found out and why, by what it is about.
        trials: preprocessings that were tried on labeled images, the best first.
        difference: from the file as it came.
        notes: what has to be known before the model is relied on.
    """

    card: Card
    version: int
    findings: dict[str, str]
    trials: tuple[PreprocessingTrial, ...]
    difference: Difference
    notes: tuple[str, ...]


def silent(stage: str, done: int, total: int) -> None:
    """Show no progress."""


def import_model(
    path: Path,
    store: Store,
    name: str,
    *,
    data: Path | None = None,
    classes: Sequence[str] | None = None,
    choices: ImportChoices | None = None,
) -> ImportedModel:
    """Publish a model that Candor did not train as the next version of `name`.

    Args:
        path: an ONNX file, a Hugging Face folder or a TorchServe archive with one.
        store: where it goes.
        name: under which it will be served.
        data: a folder of labeled images, FOLDER/CLASS/IMAGE, not from training; without it the
            model is published uncalibrated.
        classes: names in the order of the model's scores, if the file does not tell them.
        choices: whatever else the caller decides.

    Raises:
        ForeignModelRefused, ForeignModelUnclear, LabeledFolderRefused, InvalidName: as
            `import_source`.
    """
    chosen = choices or ImportChoices()
    if classes is not None:
        chosen = replace(chosen, classes=ClassNames(tuple(classes), "as given"))
    images = None if data is None else read_labeled_folder(data)
    return import_source(open_source(path), store, name, choices=chosen, data=images)


def import_source(
    source: ForeignSource,
    store: Store,
    name: str,
    *,
    choices: ImportChoices,
    data: LabeledImages | None = None,
    progress: Progress = silent,
) -> ImportedModel:
    """Publish a foreign model as the next version of `name`.

    Args:
        source: the model.
        store: where it goes.
        name: under which it will be served.
        choices: what the caller decides.
        data: labeled images; without them the model is published uncalibrated.
        progress: called with a stage, images done, and images in all.

    Raises:
        ForeignModelRefused: it is no image classifier that Candor can serve.
        ForeignModelUnclear: the caller has to say more.
        LabeledFolderRefused: the images do not fit the model.
        InvalidName: `name` is no model name.
    """
    store.model(name)  # raises InvalidName before any work
    with Sandbox(source.model.ByteSize()) as sandbox:
        inspection = _inspected(source, choices, data, sandbox)
        _check_dependence(inspection, choices)
        names = _named(source, inspection, choices, data)
        labels = None if data is None else data.indices(names.names)
        core = sandbox.load(inspection.core.serialized)

        def run(prepared: npt.NDArray[np.float32]) -> Logits:
            given = {NATIVE: inspection.image.arrange(prepared)}
            return np.asarray(core.run(given, [LOGITS])[LOGITS], np.float64)

        decision = decide(
            source, inspection, choices.preprocessing, run, data, labels, progress=progress
        )
        measured, predicted = uncalibrated(), None
        if data is not None and labels is not None:
            logits, seen = _answers(decision.preprocessing, run, inspection.image, data, progress)
            measured = _measured(logits, labels, data, names, choices, seen)
            predicted = logits.argmax(axis=1)
        core.unload()
        temperature = measured.calibration.temperature
        graph = wrap(inspection.core, decision.preprocessing, temperature=temperature)
        difference = verify(graph, inspection, decision.preprocessing, data, temperature, sandbox)
        checked = with_scope_check(
            graph,
            sandbox,
            data,
            spec=spec_of(decision.preprocessing, inspection.image),
            classes=names.names,
            predicted=predicted,
        )
    findings = _findings(inspection, names) | {"preprocessing": decision.sentence(inspection.image)}
    cards: list[Card] = []

    def build(folder: Path, version: int) -> None:
        card = build_card(
            source,
            inspection.image,
            decision.preprocessing,
            names.names,
            measured,
            data,
            findings,
            difference,
            name=name,
            version=version,
            trusted=choices.trusted,
        )
        card = card.model_copy(update={"scope": checked.card})
        cards.append(write_bundle(folder, card=card, onnx=checked.onnx))

    version = store.publish(name, build)
    notes = (*decision.doubts(inspection.image), *measured.notes, *checked.notes)
    return ImportedModel(cards[-1], version, findings, decision.trials, difference, notes)


def _inspected(
    source: ForeignSource, choices: ImportChoices, data: LabeledImages | None, sandbox: Sandbox
) -> Inspection:
    """Inspect; if the input's size is free, take that of the labeled images."""
    names = choices.classes.names if choices.classes else source.classes
    given = replace(choices.input, size=choices.input.size or source.size)
    folders = 0 if data is None else len(data.folders)
    wishes = ModelWishes(given, choices.output, len(names) or None, folders, choices.exclusive)
    try:
        return inspect_model(source.model, wishes, sandbox)
    except ForeignModelUnclear:
        size = common_size(data) if data is not None and given.size is None else None
        if size is None:
            raise
        return inspect_model(
            source.model, replace(wishes, input=replace(given, size=size)), sandbox
        )


def _check_dependence(inspection: Inspection, choices: ImportChoices) -> None:
    found = None if choices.trusted else data_dependence(inspection.original)
    if found:
        raise ForeignModelRefused(
            f"the pixels of an image decide how long its operator {found} runs, or how much memory "
            "it takes, so one image could hold a server: export the model without it, or add "
            "--trusted if you trust who made it"
        )


def _named(
    source: ForeignSource,
    inspection: Inspection,
    choices: ImportChoices,
    data: LabeledImages | None,
) -> ClassNames:
    count = inspection.scores.count
    if choices.classes is not None:
        return check_names(choices.classes, count)
    if source.classes:
        return check_names(ClassNames(source.classes, source.classes_from), count)
    return find_names(
        source.model,
        count,
        labels=inspection.scores.source.labels,
        beside=source.beside,
        folders=() if data is None else data.folders,
    )


def _answers(
    preprocessing: Preprocessing,
    run: Run,
    image: ImageInput,
    data: LabeledImages,
    progress: Progress,
) -> tuple[Logits, InputReference]:
    """Logits (N, K) of all labeled images, and how bright they are."""
    logits, seen, done = [], [], 0
    everything = range(len(data.paths))
    for places, pixels in decoded(data, everything, spec_of(preprocessing, image)):
        logits.append(run(preprocessing.apply(pixels, image)))
        seen.append(brightness(pixels))
        done += len(places)
        progress("run labeled images", done, len(everything))
    return np.concatenate(logits), InputReference.from_brightness(np.concatenate(seen))


def _measured(
    logits: Logits,
    labels: npt.NDArray[np.int64],
    data: LabeledImages,
    names: ClassNames,
    choices: ImportChoices,
    reference: InputReference,
) -> CardFigures:
    """Fit on one half, measure on the other."""
    fitting = ~data.held_out
    temperature = fit_temperature(logits[fitting], labels[fitting]) if choices.calibrate else 1.0
    measured = measure(
        logits,
        labels,
        data,
        names.names,
        temperature=temperature,
        calibrated=choices.calibrate,
        reference=reference,
        anyway=choices.anyway,
    )
    if not choices.calibrate or not at_bound(temperature):
        return measured
    doubt = (
        f"The temperature {temperature:g} is a bound of its range, so the labels do not determine "
        "it: they are too few, or the preprocessing or the order of the classes is wrong."
    )
    return replace(measured, notes=(doubt, *measured.notes))


def _findings(inspection: Inspection, names: ClassNames) -> dict[str, str]:
    """What was found, and what it means for serving."""
    image, scores = inspection.image, inspection.scores
    batch = f"a fixed batch of {image.batch}" if image.batch else "any number of images"
    how = "served one by one" if inspection.core.one_by_one else "served in batches"
    return {
        "input": f"'{image.name}': {image.described}, {batch}; {how}",
        "output": f"'{scores.source.output}': {scores.kind}, {scores.count} classes; "
        f"{scores.ending}",
        "classes": f"{_shown(names.names)} ({names.why})",
    }


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
