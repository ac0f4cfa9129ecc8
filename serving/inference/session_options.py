"""How ONNX Runtime infers: its threads, their waiting, and its memory."""

from typing import Final

from model_store.installation import usable_cores
from model_store.runtime import ort
from serving.inference.run_watch import MEMORY

SPIN_US: Final = "200"  # older versions of ONNX Runtime ignore the option


def session_options(threads: int) -> ort.SessionOptions:
    """Session options, chosen by measurement: all cores work on one batch, and its threads wait for
    each other briefly.

    Within a batch they spin for up to SPIN_US. Waiting longer would take the cores from the
    decoding processes, not waiting at all would wake a thread up for each layer. After the batch
    they stop.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    MEMORY.share(options)
    return options
