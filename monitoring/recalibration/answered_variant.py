"""Which precision of a version answered: a recalibration fits on its labels alone."""

from sqlalchemy import Connection

from model_store.bundle.bundle import Bundle
from monitoring.errors import RecalibrationRefused
from monitoring.ledger.calibrations import card_sha256, of_model


def answered_variant(connection: Connection, bundle: Bundle, precision: str | None) -> Bundle:
    """Return the variant of a bundle in `precision`; without one, that which served with this
    ledger last.

    Raises RecalibrationRefused if the bundle does not have the precision.
    """
    card = bundle.card
    if precision is not None:
        if precision not in card.precisions:
            raise RecalibrationRefused(
                f"{card.name} version {card.version} has no {precision}; it has "
                f"{', '.join(card.precisions)}."
            )
        return bundle.of_variant(precision)
    of_hash = {card_sha256(card.of_variant(each)): each for each in card.precisions}
    served = (
        of_hash[row.card_sha256]
        for row in of_model(connection, card.name)
        if row.card_sha256 in of_hash
    )
    return bundle.of_variant(next(served, card.precisions[0]))
