"""Torch for tests: one thread, as networks this small only lose by several, and much on a busy machine."""

import torch

torch.set_num_threads(1)
