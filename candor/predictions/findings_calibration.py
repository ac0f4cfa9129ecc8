"""`FindingsCalibration`: labeled findings, examined, for Python and for `candor calibrate`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from calibration.document import Part
from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.findings.examination import (
    FindingExamination,
    FindingsExamination,
    examine_findings,
)
from calibration.findings.measures import FindingsMeasures
from calibration.measures.reliability import reliability
from calibration.wording import counted, parameter, some
from candor.predictions.calibration import Examined
from candor.predictions.documents import FINDING_WORDS, findings_document
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import Examining, LabeledFindings

_SHOWN: Final = 12


class FindingsCalibration(Examined[FindingsExamination, LabeledFindings]):
    """How calibrated the probabilities of findings are, and a calibrator for others like them."""

    @property
    def findings(self) -> dict[str, FindingExamination]:
        """What is known of each finding, by its name."""
        return {each.name: each for each in self.examination.findings}

    @property
    def measures(self) -> FindingsMeasures:
        """The measures of the probabilities as given."""
        return FindingsMeasures({name: each.given for name, each in self.findings.items()})

    @property
    def verdict(self) -> str:
        """How many findings are calibrated how, in a sentence."""
        counts = Counter(each.standing for each in self.examination.findings)
        said = "; ".join(
            f"{words} {counts[word]}" for word, words in FINDING_WORDS.items() if counts[word]
        )
        return f"{counted(len(self.findings), 'finding')}: {said}."

    def _cautions(self) -> Iterator[str]:
        return _notes(self.examination)

    def document(self) -> list[Part]:
        return findings_document(self.examination, self.verdict, self.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures and sentences as plain data."""
        found = self.examination
        return super().as_dict() | {
            "findings": {each.name: _plain(each) for each in found.findings},
            "macro": {"given": found.given, "calibrated": found.calibrated},
        }


def examine_labeled_findings(predictions: LabeledFindings, how: Examining) -> FindingsCalibration:
    """Examine what was read. Raises PredictionsRefused if it has no labels."""
    if predictions.labels is None:
        raise PredictionsRefused("predictions are examined by their labels; there are none")
    found = examine_findings(
        predictions.probabilities,
        predictions.labels,
        names=predictions.names,
        groups=predictions.groups,
        rule=how.rule,
        bin_count=how.bins,
        seed=how.seed,
        judging=predictions.judging,
    )
    return FindingsCalibration(found, predictions, title=how.title)


def _notes(found: FindingsExamination) -> Iterator[str]:
    refused: dict[str, list[str]] = {}
    for each in found.findings:
        if each.refused is not None:
            refused.setdefault(each.refused, []).append(each.name)
    for why, names in refused.items():
        yield f"No calibrator for {some(names, _SHOWN)}: {why}."
    alone = [each.name for each in found.findings if each.refused is None and not each.effect]
    if alone:
        yield (
            f"Left alone, since no calibrator improves unseen rows by more than chance: "
            f"{some(alone, _SHOWN)}."
        )
    undetermined = [each.name for each in found.findings if each.point is None]
    if undetermined:
        yield (
            f"No threshold for {some(undetermined, _SHOWN)}: there are fewer than "
            f"{FEWEST_POSITIVES} positives or negatives."
        )
    yield (
        f"Rows of one group are kept together in fits and in intervals of rates "
        f"({counted(found.groups, 'group')})."
        if found.groups is not None
        else "Rows count as independent. If several belong to one patient, name the column with "
        f"{parameter('groups')}, or intervals are too short."
    )
    yield (
        "A blank label is unknown, never negative. Figures hold for rows like the labeled ones, if "
        "labels were not chosen by the answer."
    )


def _plain(each: FindingExamination) -> dict[str, Any]:
    effect = each.effect
    kind, value = each.rule
    return {
        "standing": each.standing.value,
        "given": each.given.as_dict(),
        "gap_interval": [*each.gap],
        "bins": [vars(bar) for bar in reliability(each.sums)],
        "calibrator": asdict(each.calibrator),
        "refused": each.refused,
        "effect": None
        if effect is None
        else {
            "judged": effect.judged,
            "measures": effect.measures.as_dict(),
            "nll_improvement": effect.improvement,
            "standard_error": effect.standard_error,
        },
        "rule": {"kind": kind, "value": value},
        "operating_point": None if each.point is None else asdict(each.point),
    }
