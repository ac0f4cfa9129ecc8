"""Which precision of a bundle is served: a setting, never a guess, because answers of another
precision differ.
"""

import logging

from model_store.bundle.bundle import Bundle
from serving.inference.predictor import PROVIDERS, choose_providers
from serving.setting_table import Device, PrecisionChoice

logger = logging.getLogger(__name__)


def served_variant(bundle: Bundle, precision: PrecisionChoice, *, device: Device) -> Bundle:
    """The variant of `bundle` to serve: the one asked for if the bundle has it, else what is in its
    model.onnx.
    """
    wanted = _by_device(device) if precision == "auto" else precision
    card = bundle.card
    if wanted in card.precisions:
        return bundle.of_variant(wanted)
    if precision != "auto":
        logger.warning(
            "%s version %d has no %s (CANDOR_PRECISION); serving %s",
            card.name,
            card.version,
            wanted,
            card.precisions[0],
        )
    return bundle.of_variant(card.precisions[0])


def _by_device(device: Device) -> str:
    return "int8" if choose_providers(device)[0] == PROVIDERS["cpu"] else "float16"
