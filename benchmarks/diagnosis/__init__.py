"""Scenes with a known truth (tests/builders/diagnosis), and how often the inference tells it."""
