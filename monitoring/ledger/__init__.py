"""The ledger: every answer before it leaves, every label, and the sums and detector states that follow from them."""

from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import PredictionRow

__all__ = ["Ledger", "PredictionRow"]
