"""The hash of a card."""

from model_store.bundle.card import InputReference
from monitoring.ledger.versions import card_sha256
from tests.builders.answers import make_card
from tests.builders.monitored import BOTH_DATABASES

DATABASES = BOTH_DATABASES
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
CARD = make_card().model_copy(update={"input_reference": REFERENCE})


def test_a_card_without_a_reference_keeps_its_hash() -> None:
    of_then = make_card().calibration.model_copy(
        update={"measures": {"ece": 0.05}}
    )  # cards gain measures
    card = make_card().model_copy(update={"calibration": of_then})
    assert card_sha256(card) == "ebc1da601e24571618931d61c89c47d01cde317f13b5a5e44aa1417c2f4fe6b0"
    assert card_sha256(CARD) != card_sha256(make_card())
