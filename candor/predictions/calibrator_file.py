"""A calibrator to take away, written as a file."""

from pathlib import Path

from calibration.calibrators.portable import PortableCalibrator
from candor.predictions.labeled import ScoreKind


def save_calibrator(calibrator: PortableCalibrator, kind: ScoreKind, path: Path) -> None:
    """Write `.json`, or `.onnx` of probabilities, logits or a confidence, whichever was read.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix == ".json":
        path.write_text(calibrator.as_json(), encoding="utf-8")
    elif path.suffix == ".onnx":
        from model_store.bundle.calibrator_graph import calibrator_onnx

        path.write_bytes(calibrator_onnx(calibrator, kind))
    else:
        raise ValueError(f"a calibrator is saved as .json or .onnx; got {path}")
