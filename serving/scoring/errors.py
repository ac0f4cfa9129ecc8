"""Errors of scoring a folder."""

from serving.errors import ServingError


class ScoringError(ServingError, RuntimeError):
    """A folder cannot be scored, or not into this place."""
