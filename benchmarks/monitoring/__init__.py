"""Simulations: the drift watch beside other detectors, images of one patient, recalibration."""
