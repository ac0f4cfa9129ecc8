"""Maps from scores to calibrated probabilities, fitted on labeled predictions."""
