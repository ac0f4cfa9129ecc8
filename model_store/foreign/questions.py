"""What is still open after a look at the graph: everything that is unclear is asked at once."""

from collections.abc import Iterator

import numpy as np

from model_store.errors import ForeignModelUnclear
from model_store.foreign.class_names import ClassNames, check_names, find_names
from model_store.foreign.class_scores import ask_reading
from model_store.foreign.image_input import ImageInput
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.inspection import Inspection
from model_store.foreign.labeled_folder import highest_value
from model_store.foreign.preprocessing_choice import Progress, Run
from model_store.foreign.preprocessing_decision import Decision, PreprocessingWishes, decide
from model_store.foreign.source import ForeignSource
from model_store.foreign.truth import LabeledData, Truth, truth_of


def settled(
    source: ForeignSource,
    inspection: Inspection,
    choices: ImportChoices,
    data: LabeledData | None,
    run: Run,
    progress: Progress,
) -> tuple[ClassNames, Truth | None, Decision]:
    """Return names, labels and preprocessing.

    Raises:
        ForeignModelUnclear: the caller has to say more.
        ForeignModelRefused, LabeledFolderRefused: names or images do not fit the model.
    """
    names, asked = ClassNames((), ""), []
    try:
        names = _named(source, inspection, choices, data)
    except ForeignModelUnclear as error:
        asked.append(str(error))
    if _is_unread(inspection, source, choices, data):
        asked = [ask_reading(inspection.scores, names.names)]
        names = ClassNames((), "")
    asked += _bits_asked(inspection.image, choices.preprocessing, data)
    truth = None
    if data is not None and names.names:
        truth = truth_of(data, names.names, inspection.scores.reading)
    if data is None or truth is not None:
        try:
            decision = decide(
                source, inspection, choices.preprocessing, run, truth, progress=progress
            )
        except ForeignModelUnclear as error:
            asked.append(str(error))
    if asked:
        raise ForeignModelUnclear("; and ".join(asked))
    return names, truth, decision


def _bits_asked(
    image: ImageInput, wishes: PreprocessingWishes, data: LabeledData | None
) -> Iterator[str]:
    """Ask how many bits hold values, where images or the input have 16 and may use fewer."""
    if wishes.bits is not None:
        return
    highest = None if data is None else highest_value(data.paths)
    if highest is not None and highest < 2**15:
        fewer = max(9, highest.bit_length())
        yield (
            f"the labeled images have 16 bits and no value above {highest}: give --bits {fewer} if "
            f"they use {fewer}, as the images of the model's training did, or --bits 16"
        )
    elif image.dtype == np.uint16:
        yield (
            f"its input '{image.name}' takes values of 16 bits: give --bits with the number that "
            "its images use, such as 12 or 16"
        )


def _is_unread(
    inspection: Inspection, source: ForeignSource, choices: ImportChoices, data: LabeledData | None
) -> bool:
    """Whether nothing says if the classes exclude each other."""
    scores = inspection.scores
    if scores.shown_by or choices.reading or source.reading:
        return False
    return data is None or (data.reading == "exclusive" and scores.kind == "independent")


def _named(
    source: ForeignSource, inspection: Inspection, choices: ImportChoices, data: LabeledData | None
) -> ClassNames:
    scores = inspection.scores
    if choices.classes is not None:
        return check_names(choices.classes, scores.count)
    if source.classes:
        return check_names(ClassNames(source.classes, source.classes_from), scores.count)
    return find_names(
        source.model,
        scores.count,
        labels=scores.source.labels,
        beside=source.beside,
        folders=data.folders if data else (),
        reading=scores.reading,
    )
