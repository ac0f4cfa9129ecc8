"""Measures of ten million predictions: Candor beside torchmetrics and netcal, on the same arrays in
one run.
"""
