"""Simulations: the drift watch against other detectors, and the effect of selective labels on every
figure.
"""
