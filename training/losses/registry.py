"""Every loss by name. To add one, write its term and its Loss, and a line here."""

from training.losses import auxiliary_terms, main_terms
from training.losses.terms import Loss

LOSSES: dict[str, Loss] = {
    "ce": main_terms.CROSS_ENTROPY,
    "dca": auxiliary_terms.DCA,
    "label-smoothing": main_terms.LABEL_SMOOTHING,
    "focal": main_terms.FOCAL,
    "mixup": main_terms.MIXUP,
    "entropy": auxiliary_terms.ENTROPY,
    "mmce": auxiliary_terms.MMCE,
    "mmce-weighted": auxiliary_terms.MMCE_WEIGHTED,
    "soft-ece": auxiliary_terms.SOFT_ECE,
}
