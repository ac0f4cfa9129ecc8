"""The ledger: every answer before it is sent, every label, and the sums and detector states derived
from them.
"""

from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import PredictionRow

__all__ = ["Ledger", "PredictionRow"]
