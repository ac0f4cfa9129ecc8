"""Predictions after a calibrator, as a CSV table."""

from collections.abc import Iterator
from pathlib import Path

from calibration.calibrators.portable import PortableCalibrator
from calibration.measures.metrics import top_label
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import LabeledFindings, LabeledPredictions, Predictions
from model_store.csv_cells import CsvTable

_NUMBER = "row"


def write_calibrated(read: Predictions, calibrator: PortableCalibrator, file: Path) -> None:
    """Write a row for each prediction that was read: number, ids, calibrated figures.

    Raises:
        PredictionsRefused: the classes of the calibrator are not those of the predictions.
        OSError: the file cannot be written.
    """
    if isinstance(read, LabeledFindings):
        header, cells = _findings(read, calibrator)
    elif calibrator.of == "confidence":
        header, cells = _confidences(read, calibrator)
    else:
        header, cells = _classes(read, calibrator)
    numbered = _NUMBER not in read.id_names
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvTable(stream)
        writer.writerow([*([_NUMBER] if numbered else []), *read.id_names, *header])
        for place, figures in enumerate(cells):
            ids = [] if read.ids is None else read.ids[place].tolist()
            writer.writerow([*([read.rows[place]] if numbered else []), *ids, *figures])


def _classes(
    read: LabeledPredictions, calibrator: PortableCalibrator
) -> tuple[list[str], Iterator[list[str]]]:
    """The header, and the cells of each row, in the order of the calibrator's classes."""
    if read.probabilities is None:
        raise PredictionsRefused(
            "the calibrator takes the probabilities of all classes; only a confidence is there"
        )
    names = calibrator.classes
    if sorted(read.classes) != sorted(names):
        raise PredictionsRefused(
            f"the calibrator is for the classes {', '.join(names)}; the predictions are of "
            f"{', '.join(read.classes)}: name the classes of the columns, in the order of the "
            "columns, with --classes"
        )
    calibrated = calibrator(read.probabilities[:, [read.classes.index(name) for name in names]])
    confidence, predicted = top_label(calibrated)
    cells = (
        [names[place], f"{sure:.6g}", *(f"{p:.6g}" for p in row)]
        for row, place, sure in zip(calibrated, predicted, confidence, strict=True)
    )
    return ["predicted", "confidence", *(f"probability {name}" for name in names)], cells


def _findings(
    read: LabeledFindings, calibrator: PortableCalibrator
) -> tuple[list[str], Iterator[list[str]]]:
    if set(read.names) != set(calibrator.classes):
        raise PredictionsRefused(
            f"the calibrator is for the findings {', '.join(calibrator.classes)}; the "
            f"probabilities are of {', '.join(read.names)}"
        )
    order = [read.names.index(name) for name in calibrator.classes]
    calibrated = calibrator(read.probabilities[:, order])
    header = [f"probability {name}" for name in calibrator.classes]
    return header, ([f"{p:.6g}" for p in row] for row in calibrated)


def _confidences(
    read: LabeledPredictions, calibrator: PortableCalibrator
) -> tuple[list[str], Iterator[list[str]]]:
    confidence = read.confidence if read.probabilities is None else top_label(read.probabilities)[0]
    if confidence is None:
        raise PredictionsRefused("the calibrator takes confidences; there are none")
    return ["confidence"], ([f"{sure:.6g}"] for sure in calibrator(confidence))
