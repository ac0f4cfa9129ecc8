"""A watched version: of a bundle with exclusive classes, or of one finding of a bundle.

The two differ in what an answer claims: that its class is right, or that the finding is present. So
each is a class of its own, chosen when a row of the ledger is read, and what follows from the claim
is asked of it. An answer has `predicted`, `confidence` and `probabilities` as the ledger has them.

What a label counts as, by the policy of its source, is asked of it too.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Row, and_, case, not_, or_, select

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.findings.labels import spelled
from calibration.operating.facts import Promise, RateName
from calibration.operating.points import promised
from monitoring.ledger.database import replacing
from monitoring.ledger.schema import EVERYTHING, label_source, prediction
from monitoring.sources import LabelPolicy, SourcePolicies

EVERY_MODEL = ""
UNCERTAIN: Final = "uncertain"  # the label of a finding about which the reader does not decide
UNCERTAIN_LABEL: Final = -1  # the same in place of the index of a class
_KEEP = replacing(label_source)


class CountsAs(IntEnum):
    """What a label counts as. Above TRUTH it reaches no sum, no detector and no recalibration."""

    TRUTH = 0
    SECOND_READING = 1
    PROXY = 2
    IGNORED = 3
    UNCERTAIN = 4


def read_policies(connection: Connection, models: Collection[str]) -> dict[str, SourcePolicies]:
    """Return the policies of each of these models; EVERY_MODEL has those of every model alone."""
    found: dict[str, dict[str, LabelPolicy]] = {EVERY_MODEL: {}}
    wanted = select(label_source).where(label_source.c.model.in_([*models, EVERY_MODEL]))
    for model, source, policy in connection.execute(wanted):
        found.setdefault(model, {})[source] = LabelPolicy(policy)
    every = found.pop(EVERY_MODEL)
    return {model: SourcePolicies(found.get(model, {}), every) for model in models}


def write_policies(connection: Connection, model: str, policies: Mapping[str, LabelPolicy]) -> None:
    """Set the policies of sources of a model, or of EVERY_MODEL; others stay as they are."""
    _KEEP.run(connection, [(model, source, str(each)) for source, each in policies.items()])


LOGGED: Final = "logged"  # `origin` on the card of a model that is served elsewhere
ABSENT, PRESENT = 0, 1  # the indexes of the classes in the cards of findings
PREDICTED: Final = "predicted:"  # begins the slice of a predicted class


@dataclass(frozen=True)
class WatchedVersion:
    """A bundle in the ledger, or one finding of it. `card_json`: its card, which is parsed when it
    is asked for; `bundle_digest`: of its manifest; `finding`: '' for exclusive classes.
    """

    watched_version_id: int
    model: str
    version: int
    card_sha256: str
    finding: str
    card_json: str = field(repr=False)
    registered_at_ns: int
    bundle_digest: str | None

    @cached_property
    def card(self) -> dict[str, Any]:
        card: dict[str, Any] = json.loads(self.card_json)
        return card

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.card["classes"])

    @property
    def is_logged(self) -> bool:
        """Whether the model is served elsewhere and its answers are sent to the log."""
        return self.card.get("origin") == LOGGED

    @property
    def reference(self) -> BinSums:
        """The sums of the labeled answers on which the card's reference rests."""
        return BinSums.from_rows(self.card["calibration"]["bins"])

    @cached_property
    def class_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}

    @property
    def title(self) -> str:
        """The model, and the finding if the row is of one."""
        return title_of(self.model, self.finding)

    @property
    def named(self) -> str | None:
        """The finding as JSON has it: null for exclusive classes."""
        return self.finding or None

    @property
    def query(self) -> dict[str, str]:
        return query_of(self.version, self.finding)

    @property
    def labels(self) -> tuple[str, ...]:
        """What a person may say of an answer."""
        return self.classes

    def label_index(self, label: str) -> int | None:
        """Return the index of a class, or UNCERTAIN_LABEL of a finding; None if it is neither.
        Accents that a Mac decomposes are the same.
        """
        return self.class_index.get(spelled(label, self.class_index))

    # Whether sums of right claims tell wrong answers; of a finding, they tell presence.
    counts_errors: ClassVar = True

    @property
    def finding_card(self) -> dict[str, Any]:
        """What the card says of its finding, as `FindingCard`; empty for exclusive classes."""
        return {}

    @property
    def declared(self) -> tuple[str, ...]:
        """What a declaration of the model names for the row."""
        return self.classes

    @property
    def promises(self) -> dict[tuple[RateName, str], Promise]:
        """What the card promises at its thresholds, by rate and class."""
        confusion = self.card["calibration"].get("confusion")
        return {} if confusion is None else promised(confusion, self.classes)

    def watch_settings(self, settings: DriftSettings, *, family: int) -> DriftSettings:
        """Return those of its watch; `family`: how many findings share its false alarms."""
        class_count = len(self.classes) if settings.class_wise else 0
        return replace(settings, class_count=class_count, part=1.0, flat=False)

    def said(self, predicted: int, confidence: float) -> tuple[int, float]:
        """Return what an answer says, and its probability: of a finding, by the threshold."""
        return predicted, confidence

    def says(self, number: int) -> ColumnElement[bool]:
        """Return the condition that an answer says the class of this number."""
        said: ColumnElement[bool] = prediction.c.predicted == number
        return said

    def contradicted(self, wrong: bool) -> ColumnElement[bool]:
        """Return the condition that the label contradicts what an answer says, or not."""
        label, said = prediction.c.label, prediction.c.predicted
        return label != said if wrong else label == said

    def certainty(self, confidence: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the probability of what is more probable."""
        return confidence

    def probabilities(self, answer: Any) -> npt.NDArray[Any]:
        """Return those of an answer, (K,), empty if they are not known."""
        return np.frombuffer(answer.probabilities, dtype="<f4")

    def all_probabilities(
        self, columns: Mapping[str, Sequence[Any]]
    ) -> npt.NDArray[np.float64] | None:
        """Return those of answers, (N, K); None if one has not all."""
        blobs, classes = columns["probabilities"], len(self.classes)
        if not {*map(len, blobs)} <= {4 * classes}:
            return None
        flat = np.frombuffer(b"".join(blobs), dtype="<f4")
        return flat.reshape(len(blobs), classes).astype(np.float64)

    def slices_of(self, predicted: str) -> tuple[str, ...]:
        """Return the slices that count an answer of a class for what it claims."""
        return (f"{PREDICTED}{predicted}",)

    def claim_of(self, name: str) -> str | None:
        """Return what all answers of a slice claim; None if it is not one of claims."""
        return name.removeprefix(PREDICTED) if name.startswith(PREDICTED) else None


class WatchedFinding(WatchedVersion):
    """Of one finding: every answer claims that it is present, with that probability."""

    counts_errors = False  # sums do not know the threshold

    @property
    def declared(self) -> tuple[str, ...]:
        return (self.finding,)

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.classes, UNCERTAIN)

    def label_index(self, label: str) -> int | None:
        return UNCERTAIN_LABEL if label == UNCERTAIN else super().label_index(label)

    @property
    def finding_card(self) -> dict[str, Any]:
        card: dict[str, Any] = self.card["findings"][0]
        return card

    @property
    def promises(self) -> dict[tuple[RateName, str], Promise]:
        given, of = self.finding_card.get("promise", {}), self.classes[PRESENT]
        return {
            (name, of): Promise(*(rate[field] for field in Promise.__annotations__))
            for name in RateName
            if (rate := given.get(name.value))
        }

    def watch_settings(self, settings: DriftSettings, *, family: int) -> DriftSettings:
        tolerance = min(max(settings.tolerance, self._standard_error), 1.0)
        settings = replace(settings, class_wise=False, class_count=0, part=1 / family)
        return replace(settings, flat=True, tolerance=tolerance)

    @property
    def _standard_error(self) -> float:
        """That of the log-odds of the share of positives; 0 without a reference."""
        positives = self.finding_card.get("positives", 0)
        negatives = self.finding_card.get("labeled", 0) - positives
        return math.sqrt(1 / positives + 1 / negatives) if positives and negatives else 0.0

    def said(self, predicted: int, confidence: float) -> tuple[int, float]:
        if confidence < self.finding_card["threshold"]:
            return ABSENT, 1 - confidence
        return PRESENT, confidence

    def says(self, number: int) -> ColumnElement[bool]:
        is_present: ColumnElement[bool] = prediction.c.confidence >= self.finding_card["threshold"]
        return is_present if number == PRESENT else not_(is_present)

    def contradicted(self, wrong: bool) -> ColumnElement[bool]:
        label = prediction.c.label
        pairs = [(number, 1 - number if wrong else number) for number in (ABSENT, PRESENT)]
        return or_(*(and_(self.says(said), label == actual) for said, actual in pairs))

    def certainty(self, confidence: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((confidence < 1 - confidence, 1 - confidence), else_=confidence)

    def probabilities(self, answer: Any) -> npt.NDArray[Any]:
        return both_probabilities(answer.confidence)

    def all_probabilities(
        self, columns: Mapping[str, Sequence[Any]]
    ) -> npt.NDArray[np.float64] | None:
        return both_probabilities(columns["confidence"])

    def slices_of(self, predicted: str) -> tuple[str, ...]:
        return ()

    def claim_of(self, name: str) -> str | None:
        return self.finding if name == EVERYTHING else None


def watched_version(row: Row[Any]) -> WatchedVersion:
    kind = WatchedFinding if row.finding else WatchedVersion
    return kind(*tuple(row))


def title_of(model: str, finding: str | None) -> str:
    return f"{model}: {finding}" if finding else model


def named(finding: str | None) -> dict[str, str]:
    """Return the name of a finding as a field; nothing for exclusive classes."""
    return {"finding": finding} if finding else {}


def query_of(version: int, finding: str | None) -> dict[str, str]:
    """Return what names a version, or a finding of it, in an address."""
    return {"version": str(version)} | named(finding)


def both_probabilities(confidence: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the probabilities of absent and present, (..., 2), of answers with that confidence.

    >>> both_probabilities([0.25]).tolist()
    [[0.75, 0.25]]
    """
    p = np.asarray(confidence, dtype=np.float64)
    return np.stack([1 - p, p], axis=-1)
