"""Simulations: the drift watch and other detectors, and the effect of selective labels."""
