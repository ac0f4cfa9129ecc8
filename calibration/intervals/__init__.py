"""Intervals of measures: clusters of rows, and confidence sequences."""
