"""A model that is served elsewhere, as it is declared: its name, version, classes, and a reference if there is one.

What was declared is never changed; the same again is the same, anything else needs a new version.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from calibration.bins import BinSums
from calibration.measures import Measures
from model_store.card import NAME_PATTERN
from monitoring.errors import ModelDiffers, ModelInvalid, ModelsFull, brief
from monitoring.feedback.body import kind_of
from monitoring.ledger.calibrations import LOGGED, CalibrationRow, enter, of_model, sha256_of
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import calibration

MODELS_LIMIT = 1_000  # declared versions in one ledger
CLASSES_LIMIT = 1_000
REFERENCE_LIMIT = 100_000
FIELDS = ("model", "version", "classes", "reference")


@dataclass(frozen=True)
class LoggedCard:
    """`reference`: the sums of labeled answers that the model is to be held to; of none where it has no reference."""

    model: str
    version: int
    classes: tuple[str, ...]
    reference: BinSums

    def as_json(self) -> str:
        """A card in the ledger, with as much of a bundle's as reports and metrics read."""
        reference = {
            "method": "unknown",
            "temperature": 1.0,
            "reference_split": "declared" if self.reference.total else "none",
            "bins": self.reference.as_rows(),
            "measures": Measures.from_sums(self.reference).as_dict(),
        }
        named = {"origin": LOGGED, "name": self.model, "version": self.version, "classes": list(self.classes)}
        return json.dumps(named | {"calibration": reference, "referral": None}, sort_keys=True)


def read_declaration(data: Any) -> LoggedCard:
    """Read `{"model", "version", "classes", "reference": {"confidence": [...], "correct": [...]}}`.

    Raises ModelInvalid. `version` is 1 where it is not said, `reference` may be left out.
    """
    if not isinstance(data, dict) or data.keys() - set(FIELDS):
        raise ModelInvalid(f"A model is declared by an object with some of: {', '.join(FIELDS)}; got {kind_of(data)}.")
    model, version, classes = data.get("model"), data.get("version", 1), data.get("classes")
    if not isinstance(model, str) or not re.fullmatch(NAME_PATTERN, model):
        raise ModelInvalid("Field 'model' must be a name of at most 64 letters, digits, '.', '_' and '-'.")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 10**9:
        raise ModelInvalid("Field 'version' must be a whole number from 1 on.")
    return LoggedCard(model, version, _classes(classes), _reference(data.get("reference")))


def declare(connection: Connection, card: LoggedCard, *, now_ns: int) -> CalibrationRow:
    """The row of this model version, made on first sight. Raises ModelDiffers, ModelsFull."""
    lock(connection, Lock.REQUESTS)
    text = card.as_json()
    known = [row for row in of_model(connection, card.model) if row.version == card.version]
    if any(row.card_sha256 != sha256_of(text) for row in known):
        raise ModelDiffers(card.model, card.version)
    if not known:
        logged = calibration.c.card.like(f'%"origin": "{LOGGED}"%')
        if (connection.scalar(select(func.count()).where(logged)) or 0) >= MODELS_LIMIT:
            raise ModelsFull(MODELS_LIMIT)
    return enter(connection, card.model, card.version, text, now_ns=now_ns)


def _classes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= CLASSES_LIMIT:
        raise ModelInvalid(f"Field 'classes' must be a list of 2 to {CLASSES_LIMIT:,} names; got {kind_of(value)}.")
    for name in value:
        if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
            raise ModelInvalid(f"A class is a name of 1 to 200 printable characters; got {brief(str(name))}.")
    if len(set(value)) < len(value):
        raise ModelInvalid("Each class needs a name of its own.")
    return tuple(value)


def _reference(value: Any) -> BinSums:
    if value is None:
        return BinSums.zeros()
    expected = (
        f"Field 'reference' must be two lists of one length, at most {REFERENCE_LIMIT:,}: 'confidence' of numbers in "
        "[0, 1], 'correct' of true and false"
    )
    if not isinstance(value, dict) or value.keys() != {"confidence", "correct"}:
        raise ModelInvalid(f"{expected}; got {kind_of(value)}.")
    confidence, correct = value["confidence"], value["correct"]
    lists = isinstance(confidence, list) and isinstance(correct, list)
    if not lists or len(confidence) != len(correct) or len(confidence) > REFERENCE_LIMIT:
        raise ModelInvalid(f"{expected}; the lists are none, too long, or of different lengths.")
    if not all(type(each) is bool for each in correct) or not all(type(each) in (int, float) for each in confidence):
        raise ModelInvalid(f"{expected}; a list holds something else.")
    if not all(0 <= each <= 1 for each in confidence):
        raise ModelInvalid(f"{expected}; a confidence lies outside.")
    return BinSums.from_predictions(np.array(confidence, dtype=np.float64), np.array(correct, dtype=bool))
