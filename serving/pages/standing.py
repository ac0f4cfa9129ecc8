"""How a version stands today by its labels, for the pages on which images are tried."""

from typing import NamedTuple

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from model_store.bundle.card import Card
from monitoring.diagnosis.answer_record import AnswerRecord, find_answer_record
from monitoring.diagnosis.words import words_of
from monitoring.errors import ModelNotInLedger
from monitoring.ledger.database import Ledger
from monitoring.reports.findings import findings_report
from serving.inference.prediction import Classification, Prediction
from serving.inference.served_version import ServedVersion
from serving.pages.sections import TONES


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
    ) -> AnswerRecord | None:
        """How often earlier, similar answers were right."""
        if self._ledger is None or not isinstance(answer, Classification):
            return None
        watched = served.watched_version_ids[0]
        try:
            return await to_thread.run_sync(_read_record, self._ledger, watched, answer)
        except SQLAlchemyError:
            return None


def _read_standing(ledger: Ledger, card: Card) -> VersionStanding:
    worst = findings_report(ledger, card.name, version=card.version).findings[0]
    words, of = words_of(worst.diagnosis), f"{worst.finding}: " if worst.finding else ""
    sentence = "".join(words.summary[:1])
    return VersionStanding(TONES[worst.diagnosis.state], of + words.title, sentence)


def _read_record(ledger: Ledger, watched_version_id: int, answer: Classification) -> AnswerRecord:
    with ledger.read() as connection:
        return find_answer_record(
            connection, watched_version_id, predicted=answer.predicted, confidence=answer.confidence
        )
