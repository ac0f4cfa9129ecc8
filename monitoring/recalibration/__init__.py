"""Recalibration: choose a remedy on the ledger's labeled answers and publish it as the model's next
version.

    answers.py          the labeled answers of a version, audited ones before all others
    representative.py   whether the labels look chosen rather than drawn
    subgroup.py         a subgroup to recalibrate alone
    proposal.py         the remedy, and what it does on labels not used to fit it
    promises.py         referral threshold and prediction sets on held-out labels
    subgroup_card.py    the calibrators of subgroups in a card
    next_card.py        the card of the next version, and what it may promise
    draft.py            a recalibration with its card, and what speaks against it
    publication.py      the next version in the store
    preview.py          all this in words and figures, before it is published
    limits.py           how far a process may go by itself
    on_alarm.py         what a process does by itself while a drift alarm is active
    outcomes.py         what became of a recalibration, in the history

The ledger holds whole probability vectors. Their logarithms are logits / T up to one constant per
row, so a calibrator fitted on them continues those that gave them. The network stays as it is.
"""

from monitoring.recalibration.answers import (
    AnswerFilter,
    LabeledAnswers,
    labeled_answers,
    read_since,
)
from monitoring.recalibration.draft import Recalibration
from monitoring.recalibration.preview import RecalibrationPreview
from monitoring.recalibration.proposal import ClassChange, Proposal, propose
from monitoring.recalibration.publication import recalibrate
from monitoring.recalibration.subgroup import read_group

__all__ = [
    "AnswerFilter",
    "ClassChange",
    "LabeledAnswers",
    "Proposal",
    "Recalibration",
    "RecalibrationPreview",
    "labeled_answers",
    "propose",
    "read_group",
    "read_since",
    "recalibrate",
]
