"""One torch thread: networks this small are slower with several."""

import torch

torch.set_num_threads(1)
