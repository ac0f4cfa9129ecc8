"""How a version stands today by its labels, for the pages on which images are tried."""

from typing import NamedTuple

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from console.sections import TONES
from model_store.bundle.card import Card
from monitoring.diagnosis.answer_record import AnswerRecord, find_answer_record
from monitoring.diagnosis.words import words_of
from monitoring.errors import ModelNotInLedger
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import load
from monitoring.ledger.watched_version import named
from monitoring.reports.findings import findings_report
from serving.inference.prediction import Prediction
from serving.inference.served_version import ServedVersion


class VersionStanding(NamedTuple):
    """Whether a version is to be trusted today: a style class, a heading and a sentence."""

    tone: str
    title: str
    sentence: str


class StandingReader:
    """Reads it; None without a ledger, or while that cannot be read."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger

    async def of(self, card: Card) -> VersionStanding | None:
        if self._ledger is None:
            return None
        try:
            return await to_thread.run_sync(_read_standing, self._ledger, card)
        except (SQLAlchemyError, ModelNotInLedger):
            return None

    async def of_answers_like(
        self, served: ServedVersion, answer: Prediction
    ) -> dict[str, AnswerRecord]:
        """How often earlier, similar answers were right: of the predicted class, or by finding."""
        if self._ledger is None:
            return {}
        try:
            return await to_thread.run_sync(_read_records, self._ledger, served, answer)
        except SQLAlchemyError:
            return {}


def _read_standing(ledger: Ledger, card: Card) -> VersionStanding:
    worst = findings_report(ledger, card.name, version=card.version).findings[0]
    words = words_of(worst.diagnosis)
    of = "".join(f"{name}: " for name in named(worst.finding).values())
    sentence = "".join(words.summary[:1])
    return VersionStanding(TONES[worst.diagnosis.state], of + words.title, sentence)


def _read_records(
    ledger: Ledger, served: ServedVersion, answer: Prediction
) -> dict[str, AnswerRecord]:
    with ledger.read() as connection:
        rows = load(connection, served.watched_version_ids)
        return {
            name: find_answer_record(ledger, connection, row, predicted=name, confidence=confidence)
            for row, (name, confidence) in zip(rows, answer.claims.items(), strict=True)
        }
