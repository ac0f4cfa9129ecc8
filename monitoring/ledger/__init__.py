"""The ledger: answers before they are sent, labels, and the sums and states made of them."""

from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import PredictionRow

__all__ = ["Ledger", "PredictionRow"]
