"""Measures of ten million predictions: Candor beside torchmetrics and netcal, in one run."""
