"""From a foreign model to a published bundle: inspect, wrap, calibrate, measure, verify."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibration.wording import parameter, some
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card, InputReference, Origin, Verification
from model_store.bundle.data_dependence import data_dependence
from model_store.bundle.probing import QUANTIZED_NOTE, is_quantized, make_probes
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.card import build_card
from model_store.foreign.card_figures import UNLABELED
from model_store.foreign.class_names import ClassNames, find_names
from model_store.foreign.class_scores import WHAT, ask_reading
from model_store.foreign.image_input import ImageInput
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.inspection import Inspection, inspect_model
from model_store.foreign.labeled_images import (
    LabeledImages,
    decoded,
)
from model_store.foreign.pixel_decision import Decision, decide
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.preprocessing_choice import (
    Logits,
    PreprocessingTrial,
    Progress,
    Run,
    spec_of,
)
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.scope_features import with_scope_check
from model_store.foreign.source import ForeignSource
from model_store.foreign.truth import Truth, truth_of
from model_store.foreign.verification import verify
from model_store.foreign.wrapping import LOGITS, NATIVE, wrap
from model_store.image.brightness import brightness
from model_store.store.store import Store

_SHOWN = 8  # names in a sentence


@dataclass(frozen=True)
class ImportedModel:
    """A published import.

    Attributes:
        trials: preprocessings that were tried on labeled images, the likeliest first;
            `preprocessing` is the one of the bundle.
        notes: what has to be known before the model is relied on.
    """

    card: Card
    version: int
    trials: tuple[PreprocessingTrial, ...]
    notes: tuple[str, ...]
    preprocessing: Preprocessing

    @property
    def origin(self) -> Origin:
        """What was found out about the file."""
        origin = self.card.provenance.imported
        if origin is None:
            raise ValueError("this card is not that of an import")
        return origin

    @property
    def verification(self) -> Verification:
        """How far its probabilities were from the file's own."""
        if self.card.verification is None:
            raise ValueError("this card is not that of an import")
        return self.card.verification


_WHOLE = "inspect and check"  # the stage around all others


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
    inspection = _inspected(source.model, choices, data, sandbox)
    _check_dependence(inspection, choices)
    core = sandbox.load(inspection.core.serialized)

    def run(prepared: npt.NDArray[np.float32]) -> Logits:
        given = {NATIVE: inspection.image.arrange(prepared)}
        (logits,) = core.rows(given, LOGITS, columns=inspection.scores.count)
        return np.asarray(logits, np.float64)

    names, truth, decision = _settled(source.model, inspection, choices, data, run, progress)
    preprocessing, classes = decision.preprocessing, names.names
    spec = spec_of(preprocessing, inspection.image)
    figures = UNLABELED[inspection.scores.reading](classes)
    if truth is not None:
        logits, seen = _answers(preprocessing, run, inspection.image, truth, progress)
        figures = truth.figures(logits, seen, anyway=choices.anyway)
    core.unload()
    graph = figures.applied(wrap(inspection.core, preprocessing, classes))
    verification = verify(graph, inspection, preprocessing, data, figures, classes, sandbox)
    checked = with_scope_check(graph, sandbox, data, spec=spec)
    probes = make_probes(checked.onnx, spec, load=sandbox.prepared)
    progress(_WHOLE, 1, 1)
    origin = Origin(
        file=source.file,
        sha256=source.sha256,
        producer=source.producer,
        opset=source.opset,
        found=_found(inspection, names, decision),
        trusted=choices.trusted,
    )
    card = build_card(
        name, classes, spec, figures, data, origin=origin, verification=verification
    ).model_copy(update={"scope": checked.card})
    cards: list[Card] = []

    def build(folder: Path, version: int) -> None:
        numbered = card.model_copy(update={"version": version})
        cards.append(write_bundle(folder, card=numbered, onnx=checked.onnx, probes=probes))

    version = store.publish(name, build)
    quantized = (QUANTIZED_NOTE,) if is_quantized(inspection.original) else ()
    notes = (*decision.notes, *figures.notes, *checked.notes, *quantized)
    return ImportedModel(cards[-1], version, decision.trials, notes, preprocessing)


def _inspected(
    model: onnx.ModelProto, choices: ImportChoices, data: LabeledImages | None, sandbox: Sandbox
) -> Inspection:
    names = choices.classes.names if choices.classes else ()
    return inspect_model(
        model,
        sandbox,
        wishes=choices,
        outputs=choices.outputs,
        names=names,
        classes=len(names) or (len(data.folders) if data else 0) or None,
        reading=choices.reading or (data.reading if data else None),
        are_logits=choices.scores == "logits",
    )


def _settled(
    model: onnx.ModelProto,
    inspection: Inspection,
    choices: ImportChoices,
    data: LabeledImages | None,
    run: Run,
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
            model,
            scores.count,
            labels=scores.source.labels,
            folders=data.folders if data else (),
        )
    except ForeignModelUnclear as error:
        asked.append(str(error))
    told = data is not None and (data.reading != "exclusive" or scores.kind != "independent")
    if not (scores.shown_by or choices.reading or told):
        asked.append(ask_reading(scores))
    if data is not None and not asked:
        truth = truth_of(data, names.names, scores.reading)
    if data is None or truth is not None:
        try:
            decision = decide(inspection.image, choices, run, truth, progress=progress)
        except ForeignModelUnclear as error:
            asked.append(str(error))
    if asked or decision is None:
        raise ForeignModelUnclear("; and ".join(asked))
    return names, truth, decision


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


def _check_dependence(inspection: Inspection, choices: ImportChoices) -> None:
    found = None if choices.trusted else data_dependence(inspection.original)
    if found:
        raise ForeignModelRefused(
            f"the pixels of an image decide how long its operator {found} runs, or how much memory "
            "it takes, so one image could hold a server: export the model without it, or add "
            f"{parameter('trusted', True)} if you trust who made it"
        )


def _answers(
    preprocessing: Preprocessing, run: Run, image: ImageInput, truth: Truth, progress: Progress
) -> tuple[Logits, InputReference]:
    """Logits (N, K) of all labeled images, and how bright they are."""
    logits, seen, done = [], [], 0
    paths = truth.data.paths
    for places, pixels in decoded(paths, range(len(paths)), spec_of(preprocessing, image)):
        logits.append(run(preprocessing.apply(pixels, image)))
        seen.append(brightness(pixels))
        done += len(places)
        progress("run labeled images", done, len(paths))
    return np.concatenate(logits), InputReference.from_brightness(np.concatenate(seen))
