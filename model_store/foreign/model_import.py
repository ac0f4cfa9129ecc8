"""From a foreign model to a published bundle: inspect, wrap, calibrate, measure, verify."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.wording import parameter, some
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import (
    Card,
    InputCard,
    InputReference,
    Origin,
    Provenance,
    Verification,
    initializers_of,
)
from model_store.bundle.data_dependence import data_dependence
from model_store.bundle.graph import with_calibrator
from model_store.bundle.probing import QUANTIZED_NOTE, is_quantized, make_probes
from model_store.bundle.scope import statistics, with_scope
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_names import ClassNames, find_names, require_same_order
from model_store.foreign.class_scores import WHAT, ask_reading
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.inspection import Inspection, inspect_model
from model_store.foreign.labeled_images import LabeledImages, decoded
from model_store.foreign.pixel_decision import Decision, decide
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.preprocessing_choice import PreprocessingTrial, Progress, spec_of
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.scope_features import can_be_checked, fitted_scope
from model_store.foreign.source import ForeignSource
from model_store.foreign.truth import Truth, truth_of, undescribed
from model_store.foreign.verification import libraries, verify
from model_store.foreign.wrapping import wrap
from model_store.image import InputSpec
from model_store.image.brightness import brightness
from model_store.store.store import Store

_SHOWN: Final = 8  # names in a sentence
_WHOLE: Final = "inspect and check"  # the stage around all others
_UNCHECKED: Final = "There is no scope check: "


@dataclass(frozen=True)
class ImportedModel:
    """A published import.

    Attributes:
        trials: preprocessings that were tried on labeled images, the likeliest first;
            `preprocessing` is the one of the bundle.
        notes: what has to be known before the model is relied on.
    """

    card: Card
    origin: Origin
    verification: Verification
    trials: tuple[PreprocessingTrial, ...]
    notes: tuple[str, ...]
    preprocessing: Preprocessing

    @property
    def version(self) -> int:
        return self.card.version


@dataclass(frozen=True)
class _Answers:
    """Of all labeled images: logits (N, K), brightness (N,), and what a scope check is fitted on:
    means of maps (N, D) and statistics of the image (N, S).
    """

    logits: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]
    statistics: npt.NDArray[np.float32]


def silent(stage: str, done: int, total: int) -> None:
    """Show no progress."""


def import_source(
    source: ForeignSource,
    store: Store,
    name: str,
    *,
    sandbox: Sandbox,
    choices: ImportChoices,
    data: LabeledImages | None = None,
    progress: Progress = silent,
) -> ImportedModel:
    """Publish a foreign model as the next version of `name`.

    Labeled `data` calibrates it, and fits the scope check. `progress` is called with a stage,
    images done, and images in all.

    Raises ForeignModelRefused, ForeignModelUnclear if the caller has to say more,
    LabeledFolderRefused if the images do not fit or contradict the model, and InvalidName.
    """
    store.model(name)  # raises InvalidName before any work
    choices = choices.over(source.said)
    progress(_WHOLE, 0, 1)
    inspection = _inspected(source, choices, data, sandbox)
    names, truth, decision = _settled(source, inspection, choices, data, progress)
    preprocessing, classes = decision.preprocessing, names.names
    spec = spec_of(preprocessing, inspection.image)
    described, notes = undescribed(classes, inspection.scores.reading)
    scope = None
    if truth is not None:
        answers = _answers(preprocessing, spec, inspection, truth.data, progress)
        described, notes = truth.described(answers.logits, anyway=choices.anyway)
        described["input_reference"] = InputReference.from_brightness(answers.brightness)
        scope = fitted_scope(truth.data, answers.maps, answers.statistics)
    calibrator = initializers_of(described["calibration"], described.get("findings"))
    graph = with_calibrator(wrap(inspection.core, preprocessing, classes), **calibrator._asdict())
    verification = verify(graph, inspection, preprocessing, data, calibrator, classes, sandbox)
    if scope is not None:
        graph = with_scope(graph, scope.parameters)
    probes = make_probes(graph, spec, load=sandbox.prepared)
    progress(_WHOLE, 1, 1)
    origin = Origin(
        file=source.file,
        sha256=source.sha256,
        producer=source.producer,
        opset=source.opset,
        found=_found(inspection, names, decision),
        trusted=choices.trusted,
    )
    card = Card(
        name=name,
        version=1,
        classes=classes,
        input=InputCard.model_validate(asdict(spec)),
        provenance=_provenance(data, origin),
        verification=verification,
        scope=None if scope is None else scope.card,
        **described,
    )
    cards: list[Card] = []

    def build(folder: Path, version: int) -> None:
        numbered = card.model_copy(update={"version": version})
        cards.append(write_bundle(folder, card=numbered, onnx=graph, probes=probes))

    store.publish(name, build)
    quantized = (QUANTIZED_NOTE,) if is_quantized(inspection.original) else ()
    unchecked = () if scope else (_UNCHECKED + _why_unchecked(data),)
    notes = [*decision.notes, *notes, *unchecked, *quantized]
    return ImportedModel(
        cards[-1], origin, verification, decision.trials, tuple(notes), preprocessing
    )


def _inspected(
    source: ForeignSource, choices: ImportChoices, data: LabeledImages | None, sandbox: Sandbox
) -> Inspection:
    """Inspect the graph. Raises ForeignModelRefused, also where pixels decide how long it runs."""
    names = choices.classes.names if choices.classes else ()
    inspection = inspect_model(
        source.model,
        sandbox,
        size=choices.size,
        outputs=choices.outputs,
        classes=len(names) or (len(data.folders) if data else 0) or None,
        reading=choices.reading or (data.reading if data else None),
        are_logits=choices.scores == "logits" or source.gives_logits,
        with_scope=can_be_checked(data),
    )
    found = None if choices.trusted else data_dependence(inspection.original)
    if found:
        raise ForeignModelRefused(
            f"the pixels of an image decide how long its operator {found} runs, or how much memory "
            "it takes, so one image could hold a server: export the model without it, or add "
            f"{parameter('trusted', True)} if you trust who made it"
        )
    return inspection


def _settled(
    source: ForeignSource,
    inspection: Inspection,
    choices: ImportChoices,
    data: LabeledImages | None,
    progress: Progress,
) -> tuple[ClassNames, Truth | None, Decision]:
    """Return names, labels and preprocessing; what is unclear without labels is asked at once.

    Raises ForeignModelUnclear, ForeignModelRefused and LabeledFolderRefused.
    """
    scores, asked = inspection.scores, []
    names, truth, decision = ClassNames((), ""), None, None
    try:
        names = find_names(
            choices.classes,
            source.model,
            scores.count,
            labels=scores.source.labels,
            folders=data.folders if data else (),
        )
    except ForeignModelUnclear as error:
        asked.append(str(error))
    if not choices.anyway:
        said = source.said.classes
        others = (choices.outputs, said.names if said else ())
        require_same_order(names.names, source.model, scores.source.labels, others)
    told = data is not None and (data.reading != "exclusive" or scores.kind != "independent")
    if not (scores.shown or choices.reading or told):
        asked.append(ask_reading(scores))
    if data is not None and not asked:
        truth = truth_of(data, names.names, scores.reading)
    if data is None or truth is not None:
        try:
            decision = decide(inspection, choices, truth, progress=progress)
        except ForeignModelUnclear as error:
            asked.append(str(error))
    if asked or decision is None:
        raise ForeignModelUnclear("; and ".join(asked))
    return names, truth, decision


def _answers(
    preprocessing: Preprocessing,
    spec: InputSpec,
    inspection: Inspection,
    data: LabeledImages,
    progress: Progress,
) -> _Answers:
    """Run the model on all labeled images."""
    found, done = [], 0
    for places, pixels in decoded(data.paths, range(len(data.paths)), spec):
        logits, *maps = inspection.run(preprocessing.apply(pixels, inspection.image))
        shown = maps[0] if maps else np.zeros((len(pixels), 0))
        found.append((logits, brightness(pixels), shown.astype(np.float32), statistics(pixels)))
        done += len(places)
        progress("run labeled images", done, len(data.paths))
    return _Answers(*map(np.concatenate, zip(*found, strict=True)))


def _found(inspection: Inspection, names: ClassNames, decision: Decision) -> dict[str, str]:
    """What was found, and what it means for serving, by what it is about."""
    image, scores = inspection.image, inspection.scores
    batch = f"a fixed batch of {image.batch}" if image.batch else "any number of images"
    how = "served one by one" if inspection.core.one_by_one else "served in batches"
    what = WHAT[scores.reading]
    of = f", of {names.names[1]}" if scores.is_binary else ""
    return {
        "input": f"'{image.name}': {image.described}, {batch}; {how}",
        "output": f"'{scores.source.output}': {scores.kind}{of}, {scores.count} {what}; "
        f"{scores.ending}",
        what: f"{some(names.names, _SHOWN)} ({names.why})",
        "preprocessing": f"{decision.preprocessing.sentence(image.channels)}; {decision.why}",
    }


def _why_unchecked(data: LabeledImages | None) -> str:
    if data is None:
        return "no images were given to fit it on."
    return f"{int(data.held_out.sum())} images cannot calibrate it."


def _provenance(data: LabeledImages | None, origin: Origin) -> Provenance:
    return Provenance(
        dataset="none" if data is None else data.root.resolve().name,
        fingerprint="none" if data is None else data.fingerprint,
        backbone="imported",
        loss="unknown",  # only the maker knows
        seed=0,
        epochs=0,
        libraries=libraries(),
        created_at=datetime.now(UTC),
        imported=origin,
    )
