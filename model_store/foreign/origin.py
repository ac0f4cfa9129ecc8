"""Where an imported model comes from: what was found out about its file, and what was inferred."""

from collections.abc import Iterator, Sequence
from typing import Final

from calibration.wording import some
from model_store.bundle.provenance import Assumption, Origin
from model_store.foreign.class_names import ClassNames
from model_store.foreign.class_scores import WHAT, Reading
from model_store.foreign.inspection import Inspection
from model_store.foreign.labeled_folder import LabeledImages
from model_store.foreign.preprocessing_decision import Decision
from model_store.foreign.source import ForeignSource
from model_store.foreign.truth import LabeledData

SHOWN: Final = 8  # names in a sentence
_READINGS: Final[dict[Reading, tuple[str, str]]] = {
    "exclusive": ("each image has exactly one of the classes", "--findings"),
    "findings": ("each class is a finding, present or absent by itself", "--exclusive"),
}


def origin_of(
    source: ForeignSource,
    inspection: Inspection,
    names: ClassNames,
    decision: Decision,
    inferences: Sequence[Assumption],
    *,
    trusted: bool,
) -> Origin:
    """Return the part of a card that says where a model comes from."""
    return Origin(
        file=source.file,
        sha256=source.sha256,
        producer=source.producer,
        opset=source.opset,
        found=_found(inspection, names) | {"preprocessing": decision.sentence(inspection.image)},
        inferred=tuple(inferences),
        trusted=trusted,
    )


def of_size(inspection: Inspection) -> Iterator[Assumption]:
    """Give the size of the input if it was inferred."""
    image = inspection.image
    if inspection.sized_by:
        taken = f"images are {image.height} x {image.width} pixels"
        why = inspection.sized_by
        yield Assumption(about="size", taken=taken, why=why, instead="--size", tested=False)


def of_scores(
    inspection: Inspection,
    reading: Reading | None,
    source: ForeignSource,
    names: ClassNames,
    data: LabeledData | None,
) -> Iterator[Assumption]:
    """Give what was inferred of classes and scores. `reading` is what the caller says of them."""
    scores, labeled = inspection.scores, data is not None
    if not scores.shown_by and reading is None:
        taken, instead = _READINGS[scores.reading]
        why = source.reading_from or (data or LabeledImages).shows
        yield Assumption(about="scores", taken=taken, why=why, instead=instead, tested=False)
    if scores.kind.startswith("binary"):
        number = "logit" if scores.kind == "binary logit" else "probability"
        yield Assumption(
            about="scores",
            taken=f"its one score is the {number} of {names.names[1]}",
            why="the usual meaning of one score for two classes",
            instead="--classes",
            tested=labeled,
        )
    if names.inferred:
        yield Assumption(
            about="classes",
            taken=f"the order of its scores is {some(names.names, SHOWN)}",
            why=names.why,
            instead=f"--{WHAT[scores.reading]}",
            tested=labeled and scores.reading == "exclusive",
        )


def _found(inspection: Inspection, names: ClassNames) -> dict[str, str]:
    """What was found, and what it means for serving."""
    image, scores = inspection.image, inspection.scores
    batch = f"a fixed batch of {image.batch}" if image.batch else "any number of images"
    how = "served one by one" if inspection.core.one_by_one else "served in batches"
    what = WHAT[scores.reading]
    return {
        "input": f"'{image.name}': {image.described}, {batch}; {how}",
        "output": f"'{scores.source.output}': {scores.kind}, {scores.count} {what}; "
        f"{scores.ending}",
        what: f"{some(names.names, SHOWN)} ({names.why})",
    }
