"""The declaration of a model that is served elsewhere: its name, version, classes, and a reference
if there is one.

A model that Candor published is declared by its card, so that reports know all that the card says:
its promises, its confusion matrix, the answers of its reference. A declaration never changes. The
same one again has no effect; anything else needs a new version.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import Meta, Struct
from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.card import NAME_PATTERN, Card
from monitoring.errors import ModelDiffers, ModelInvalid, ModelServed, ModelsFull, brief
from monitoring.http.fields import Fraction, Version
from monitoring.http.json_body import JsonReader
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import watched_versions
from monitoring.ledger.versions import LOGGED, WatchedVersion, enter, of_model, sha256_of

MODELS_LIMIT = 1_000  # declared versions in one ledger
CLASSES_LIMIT = 1_000
REFERENCE_LIMIT = 100_000
_OF_FILES = ("files", "input_reference")  # of a card; a TorchServe archive's card has neither

ClassName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]


class ReferenceAnswers(Struct, frozen=True, forbid_unknown_fields=True):
    """Labeled answers that a declared model is compared with: two lists of one length."""

    confidence: Annotated[list[Fraction], Meta(max_length=REFERENCE_LIMIT)]
    correct: Annotated[list[bool], Meta(max_length=REFERENCE_LIMIT)]

    def sums(self) -> BinSums:
        """The sums of these answers. Raises ModelInvalid."""
        if len(self.confidence) != len(self.correct):
            raise ModelInvalid(
                "Field 'reference' must hold two lists of one length, 'confidence' and 'correct'; "
                f"got {len(self.confidence):,} and {len(self.correct):,} entries."
            )
        return BinSums.from_predictions(
            np.array(self.confidence, dtype=np.float64), np.array(self.correct, dtype=bool)
        )


class LoggedModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a model that Candor does not serve."""

    model: Annotated[str, Meta(pattern=NAME_PATTERN, description="the name", examples=["retina"])]
    classes: Annotated[
        list[ClassName],
        Meta(
            min_length=2,
            max_length=CLASSES_LIMIT,
            description="distinct names",
            examples=[["healthy", "ill"]],
        ),
    ]
    version: Version = 1
    reference: ReferenceAnswers | None = None
    bundle_card: (
        Annotated[
            dict[str, Any],
            Meta(description="card.json of the bundle that is served, in place of `reference`"),
        ]
        | None
    ) = None

    def card(self) -> "LoggedCard":
        """The declaration as the ledger keeps it. Raises ModelInvalid."""
        if self.model.endswith("\n"):  # which the pattern's `$` lets pass
            raise ModelInvalid(
                f"Field 'model' must end with its last letter; got {brief(self.model)}."
            )
        for name in self.classes:
            if not name.isprintable():
                raise ModelInvalid(f"Field 'classes' must hold printable names; got {brief(name)}.")
        if len(set(self.classes)) < len(self.classes):
            raise ModelInvalid("Field 'classes' must hold distinct names; one is there twice.")
        if self.bundle_card is not None:
            return self._of_bundle(self.bundle_card)
        reference = BinSums.zeros() if self.reference is None else self.reference.sums()
        return LoggedCard(self.model, self.version, tuple(self.classes), reference)

    def _of_bundle(self, given: dict[str, Any]) -> "LoggedCard":
        if self.reference is not None:
            raise ModelInvalid(
                "Give 'reference' or 'bundle_card': the card has a reference of its own."
            )
        try:
            card = Card.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ModelInvalid(
                f"Field 'bundle_card' is no card of a bundle: {place}: {first['msg']}."
            ) from None
        if (card.name, card.version, list(card.classes)) != (
            self.model,
            self.version,
            self.classes,
        ):
            raise ModelInvalid(
                "Field 'bundle_card' must be of the same model, version and classes as the "
                "declaration."
            )
        said = {name: value for name, value in given.items() if name not in _OF_FILES}
        return LoggedCard(
            card.name, card.version, card.classes, card.calibration.sums, bundle_card=said
        )


class DeclaredModel(Struct, frozen=True):
    """A declared version, as the ledger has it."""

    model: str
    version: int
    classes: list[str]


@dataclass(frozen=True)
class LoggedCard:
    """A declared version.

    `reference`: the sums of the answers it is compared with; empty without a reference.
    `bundle_card`: the card of a bundle as it was sent, because another release of Candor may write
        it in another way.
    """

    model: str
    version: int
    classes: tuple[str, ...]
    reference: BinSums
    bundle_card: dict[str, Any] | None = None

    def as_json(self) -> str:
        """The card to store: the bundle's, or what reports and metrics read of one."""
        if self.bundle_card is not None:
            return json.dumps(self.bundle_card | {"origin": LOGGED}, sort_keys=True)
        reference = {
            "method": "unknown",
            "temperature": 1.0,
            "reference_split": "declared" if self.reference.total else "none",
            "bins": self.reference.as_rows(),
            "measures": Measures.from_sums(self.reference).as_dict(),
        }
        named = {
            "origin": LOGGED,
            "name": self.model,
            "version": self.version,
            "classes": list(self.classes),
        }
        return json.dumps(named | {"calibration": reference, "referral": None}, sort_keys=True)


def read_declaration(body: bytes) -> LoggedCard:
    """Read a declaration. Raises BodyNotJson and ModelInvalid."""
    return DECLARATIONS.read(body).card()


def declare(connection: Connection, card: LoggedCard, *, now_ns: int) -> list[WatchedVersion]:
    """The version's rows, new or known. Raises ModelDiffers, ModelServed and ModelsFull."""
    lock(connection, Lock.REQUESTS)
    text = card.as_json()
    known = [row for row in of_model(connection, card.model) if row.version == card.version]
    if any(not row.is_logged for row in known):
        raise ModelServed(card.model, card.version)
    if any(row.card_sha256 != sha256_of(text) for row in known):
        raise ModelDiffers(card.model, card.version)
    if not known:
        logged = watched_versions.c.card.like(f'%"origin": "{LOGGED}"%')
        if (connection.scalar(select(func.count()).where(logged)) or 0) >= MODELS_LIMIT:
            raise ModelsFull(MODELS_LIMIT)
    return enter(connection, card.model, card.version, {"": text}, now_ns=now_ns)


DECLARATIONS = JsonReader(LoggedModel, ModelInvalid, whole="A declaration")
