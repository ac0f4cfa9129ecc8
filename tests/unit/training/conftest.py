"""One torch thread for tests: networks this small are slower with several, especially on a busy
machine.
"""

import torch

torch.set_num_threads(1)
