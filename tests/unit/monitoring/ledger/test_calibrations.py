"""The hash of a card."""

from model_store.card import InputReference
from monitoring.ledger.calibrations import card_sha256
from tests.builders.answers import make_card
from tests.builders.monitored import BOTH_DATABASES

DATABASES = BOTH_DATABASES
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
CARD = make_card().model_copy(update={"input_reference": REFERENCE})


def test_a_card_without_a_reference_keeps_its_hash() -> None:
    assert card_sha256(make_card()) == "2a99fb9cf8f919cce34926e28bd814c88be5c7e45289463f6c60889d6a5c7aa4"
    assert card_sha256(CARD) != card_sha256(make_card())
