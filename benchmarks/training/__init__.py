"""Benchmarks of training: the cost of a loss, and of an epoch on cached features; and the archive
of Fashion-MNIST.
"""
