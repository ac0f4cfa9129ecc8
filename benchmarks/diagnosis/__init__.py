"""Scenes with a known truth, and how often the inference tells it."""
