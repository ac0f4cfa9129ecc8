"""Predictions after a calibrator, as a CSV table."""

from pathlib import Path

from calibration.metrics import top_label
from calibration.portable import PortableCalibrator
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import LabeledPredictions
from model_store.csv_cells import CsvTable


def write_calibrated(read: LabeledPredictions, calibrator: PortableCalibrator, file: Path) -> None:
    """Write a row for each prediction that was read: its number in the source, and calibrated figures.

    Raises:
        PredictionsRefused: the classes of the calibrator are not those of the predictions.
        OSError: the file cannot be written.
    """
    if calibrator.of == "confidence":
        _write_confidence(read, calibrator, file)
        return
    if read.probabilities is None:
        raise PredictionsRefused("the calibrator takes the probabilities of all classes; only a confidence is there")
    if read.classes != calibrator.classes:
        raise PredictionsRefused(
            f"the calibrator is for the classes {', '.join(calibrator.classes)}; the predictions are of "
            f"{', '.join(read.classes)}: name them in this order with --classes, or put the columns in it"
        )
    calibrated = calibrator(read.probabilities)
    confidence, predicted = top_label(calibrated)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvTable(stream)
        writer.writerow(["row", "predicted", "confidence", *(f"probability {name}" for name in read.classes)])
        for number, row, place, sure in zip(read.rows, calibrated, predicted, confidence, strict=True):
            writer.writerow([number, read.classes[place], f"{sure:.6g}", *(f"{p:.6g}" for p in row)])


def _write_confidence(read: LabeledPredictions, calibrator: PortableCalibrator, file: Path) -> None:
    confidence = read.confidence if read.probabilities is None else top_label(read.probabilities)[0]
    if confidence is None:
        raise PredictionsRefused("the calibrator takes confidences; there are none")
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvTable(stream)
        writer.writerow(["row", "confidence"])
        for number, sure in zip(read.rows, calibrator(confidence), strict=True):
            writer.writerow([number, f"{sure:.6g}"])
