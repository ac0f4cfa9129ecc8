"""Labeled predictions from anywhere: read from a file or from arrays, examined, and calibrated.

    file -> columns (candor.predictions.columns) -> collected rows -> interpreted -> Calibration ->
    report, calibrator

What a file leaves open is refused with the option that settles it; what was guessed is said.
"""
