"""The sign for changed answers, from a real ledger's day sums."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from calibration.bins import bin_index
from calibration.drift.answer_drift import count_answers
from model_store.bundle.card import Card
from monitoring.diagnosis.facts import EarlySign
from monitoring.ledger import PredictionRow
from monitoring.maintenance.retention import prune
from monitoring.reports.report import calibration_report
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel

DATABASES = BOTH_DATABASES


def answers(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    """Probabilities of "pneumonia"."""
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(shift, 2, n)))


def rows(
    monitored: MonitoredModel, day: int, *, shift: float = 0.0, n: int = 120
) -> list[PredictionRow]:
    p = answers(day, n, shift)
    return [
        make_row(
            1_000 * day + i,
            watched_version_id=monitored.watched_version_id,
            confidence=float(np.float32(max(each, 1 - each))),
            predicted=int(each > 0.5),
            served_at_ns=NOW_NS + day * DAY_NS,
        )
        for i, each in enumerate(p)
    ]


def sign(monitored: MonitoredModel) -> EarlySign:
    signs = calibration_report(monitored.ledger, "pneumonia").diagnosis.early_signs
    return {each.name: each for each in signs}["answer_distribution"]


def card_with_reference() -> Card:
    card, p = make_card(), answers(999, 500)
    counts = count_answers(p > 0.5, bin_index(np.maximum(p, 1 - p)), 2)
    known = tuple(tuple(row) for row in counts.tolist())
    return card.model_copy(
        update={"calibration": card.calibration.model_copy(update={"answers": known})}
    )


@pytest.fixture
def compared(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    with MonitoredModel(ledger_url, clock, card=card_with_reference()) as monitored:
        yield monitored


def test_the_first_day_is_awaited(compared: MonitoredModel, clock: Clock) -> None:
    compared.serve(*rows(compared, 0))
    assert math.isnan(sign(compared).value)
    clock.now_ns += DAY_NS
    quiet = sign(compared)
    assert not quiet.raised
    assert quiet.value < quiet.limit


def test_a_change_is_noticed_outlives_pruning_and_ends_with_a_reset(
    compared: MonitoredModel, clock: Clock
) -> None:
    for day in range(6):
        compared.serve(*rows(compared, day, shift=2.0 if day >= 2 else 0.0))
    clock.now_ns += 6 * DAY_NS
    raised = sign(compared)
    assert raised.raised
    assert raised.since_s == (NOW_NS // DAY_NS + 2) * DAY_NS / 1e9
    prune(compared.ledger, older_than_s=0)
    assert sign(compared) == raised
    compared.recorder.acknowledge("pneumonia", kind="reset").result()
    assert math.isnan(sign(compared).value)  # it starts again tomorrow


def test_without_a_reference_the_first_answers_are_compared_with(
    monitored: MonitoredModel, clock: Clock
) -> None:
    for day in range(12):
        monitored.serve(*rows(monitored, day, shift=2.5 if day >= 8 else 0.0))
    clock.now_ns += 12 * DAY_NS
    assert sign(monitored).raised
