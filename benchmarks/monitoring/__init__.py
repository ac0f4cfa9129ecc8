"""Simulation of the drift watch against other detectors, and of what selective labels do to every figure."""
