"""Intervals of measures: bootstrap, clusters of rows, and confidence sequences."""
