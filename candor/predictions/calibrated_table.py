"""Predictions after a calibrator, as a CSV table."""

from pathlib import Path

from calibration.calibrators.portable import PortableCalibrator
from candor.predictions.labeled import Predictions
from model_store.csv_cells import CsvTable

_NUMBER = "row"


def write_calibrated(read: Predictions, calibrator: PortableCalibrator, file: Path) -> None:
    """Write a row for each prediction that was read: number, ids, calibrated figures.

    Raises:
        PredictionsRefused: the classes of the calibrator are not those of the predictions.
        OSError: the file cannot be written.
    """
    header, cells = read.calibrated(calibrator)
    numbered = _NUMBER not in read.id_names
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvTable(stream)
        writer.writerow([*([_NUMBER] if numbered else []), *read.id_names, *header])
        for place, figures in enumerate(cells):
            ids = [] if read.ids is None else read.ids[place].tolist()
            writer.writerow([*([read.rows[place]] if numbered else []), *ids, *figures])
