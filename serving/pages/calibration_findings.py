"""Probabilities of findings from a file: how calibrated each one is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibration.findings.examination import FindingsExamination
from calibration.measured import Standing
from serving.pages.rendering import render


@dataclass(frozen=True, kw_only=True)
class FindingsText:
    """The sentences of a page.

    Attributes:
        title: names the predictions.
        verdict: in a sentence.
        words: the verdict on one finding.
        notes: what to know before relying on it.
        taken: what was taken for what, as pairs.
    """

    title: str
    verdict: str
    words: Mapping[Standing, str]
    notes: Sequence[str]
    taken: Sequence[tuple[str, str]] = ()


def findings_page(examination: FindingsExamination, text: FindingsText) -> str:
    """Render the whole page."""
    return render("calibration_findings.html", examination=examination, text=text)


def findings_fragment(examination: FindingsExamination, text: FindingsText) -> str:
    """Render verdict and tables for a notebook."""
    return render("calibration_findings_fragment.html", examination=examination, text=text)
