"""The declaration of a model that is served elsewhere: its name, version, classes, and a reference
if there is one.

A model that Candor published is declared by its card, so that reports know all that the card says:
its promises, its confusion matrix, the answers of its reference. A declaration never changes. The
same one again has no effect; anything else needs a new version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import Meta, Struct
from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from calibration.bins import BinSums
from calibration.calibrators.finding_answers import ABSENT_PRESENT
from calibration.measures.summary import Measures
from model_store.bundle.card import NAME_PATTERN, Card
from monitoring.errors import ModelDiffers, ModelInvalid, ModelServed, ModelsFull, brief
from monitoring.http.fields import Fraction, Version
from monitoring.http.json_body import JsonReader
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.versions import enter, is_declared, of_model, sha256_of
from monitoring.ledger.watched_version import LOGGED, WatchedVersion

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
    classes: (
        Annotated[
            list[ClassName],
            Meta(
                min_length=2,
                max_length=CLASSES_LIMIT,
                description="distinct names",
                examples=[["healthy", "ill"]],
            ),
        ]
        | None
    ) = None
    findings: (
        Annotated[
            dict[ClassName, Fraction],
            Meta(
                min_length=1,
                max_length=CLASSES_LIMIT,
                description="in place of `classes`, for several answers in one image: the "
                "probability from which each finding is present",
                examples=[{"Edema": 0.5, "Mass": 0.2}],
            ),
        ]
        | None
    ) = None
    version: Version = 1
    reference: ReferenceAnswers | None = None
    bundle_card: (
        Annotated[
            dict[str, Any],
            Meta(
                description="card.json of the bundle that is served, in place of `classes`, "
                "`findings` and `reference`"
            ),
        ]
        | None
    ) = None

    def card(self) -> "LoggedCard":
        """The declaration as the ledger keeps it. Raises ModelInvalid."""
        if self.model.endswith("\n"):  # which the pattern's `$` lets pass
            raise ModelInvalid(
                f"Field 'model' must end with its last letter; got {brief(self.model)}."
            )
        if self.bundle_card is not None:
            return self._of_bundle(self.bundle_card)
        if (self.classes is None) == (self.findings is None):
            raise ModelInvalid("Give 'classes', 'findings' or 'bundle_card'.")
        classes = list(self.findings or self.classes or ())
        for name in classes:
            if not name.isprintable():
                raise ModelInvalid(f"Field 'classes' must hold printable names; got {brief(name)}.")
        if len(set(classes)) < len(classes):
            raise ModelInvalid("Field 'classes' must hold distinct names; one is there twice.")
        if self.findings is not None and self.reference is not None:
            raise ModelInvalid("Field 'reference' is for exclusive classes.")
        reference = BinSums.zeros() if self.reference is None else self.reference.sums()
        return LoggedCard(
            self.model, self.version, tuple(classes), reference, thresholds=self.findings
        )

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
        names = list(self.findings or self.classes or card.classes)
        same = (card.name, card.version, list(card.classes)) == (self.model, self.version, names)
        if not same or (self.classes if card.has_findings else self.findings) is not None:
            raise ModelInvalid(
                "Field 'bundle_card' must be of the same model, version and classes as the "
                "declaration."
            )
        of_card = {each.name: each.threshold for each in card.findings or ()}
        kept = {name: value for name, value in given.items() if name not in _OF_FILES}
        return LoggedCard(
            card.name,
            card.version,
            card.classes,
            card.calibration.sums,
            bundle_card=kept,
            thresholds=self.findings or of_card or None,
        )


class DeclaredModel(Struct, frozen=True):
    """A declared version, as the ledger has it; `classes` are the names of findings, if it has."""

    model: str
    version: int
    classes: list[str]


@dataclass(frozen=True)
class LoggedCard:
    """A declared version.

    `reference`: the sums of the answers it is compared with; empty without a reference.
    `bundle_card`: the card of a bundle as it was sent, because another release of Candor may write
        it in another way.
    `thresholds`: of a model with findings, by finding; the `classes` are their names.
    """

    model: str
    version: int
    classes: tuple[str, ...]
    reference: BinSums
    bundle_card: dict[str, Any] | None = None
    thresholds: Mapping[str, float] | None = None

    def as_json(self) -> dict[str, str]:
        """The cards to store, by finding: the bundle's, or what reports and metrics read of one."""
        if self.thresholds is None:
            return {"": json.dumps(self._card(), sort_keys=True)}
        if self.bundle_card is not None:
            card = Card.model_validate(self.bundle_card)
            said = {name: card.of_finding(name).model_dump(mode="json") for name in self.classes}
            return {name: _as_logged(each) for name, each in said.items()}
        return {name: _as_logged(self._question(name)) for name in self.classes}

    def _question(self, name: str) -> dict[str, Any]:
        """What reports and metrics read of the card of a finding."""
        threshold = (self.thresholds or {})[name]
        finding = {"name": name, "threshold": threshold, "labeled": 0, "positives": 0}
        return self._card() | {
            "classes": ABSENT_PRESENT,
            "finding": name,
            "findings": [finding],
            "conformal": None,
        }

    def _card(self) -> dict[str, Any]:
        if self.bundle_card is not None:
            return self.bundle_card | {"origin": LOGGED}
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
        return named | {"calibration": reference, "referral": None}


def _as_logged(card: dict[str, Any]) -> str:
    return json.dumps(card | {"origin": LOGGED}, sort_keys=True)


def read_declaration(body: bytes) -> LoggedCard:
    """Read a declaration. Raises BodyNotJson and ModelInvalid."""
    return DECLARATIONS.read(body).card()


def declare(connection: Connection, card: LoggedCard, *, now_ns: int) -> list[WatchedVersion]:
    """The version's rows, new or known. Raises ModelDiffers, ModelServed and ModelsFull."""
    lock(connection, Lock.REQUESTS)
    cards = card.as_json()
    hashes = set(map(sha256_of, cards.values()))
    known = [row for row in of_model(connection, card.model) if row.version == card.version]
    if any(not row.is_logged for row in known):
        raise ModelServed(card.model, card.version)
    if known and {row.card_sha256 for row in known} != hashes:
        raise ModelDiffers(card.model, card.version)
    declared = connection.scalar(select(func.count()).where(is_declared())) or 0
    if not known and declared >= MODELS_LIMIT:
        raise ModelsFull(MODELS_LIMIT)
    return enter(connection, card.model, card.version, cards, now_ns=now_ns)


DECLARATIONS = JsonReader(LoggedModel, ModelInvalid, whole="A declaration")
