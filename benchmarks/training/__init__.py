"""Benchmarks of training: the cost of a loss, and of an epoch on cached features."""
