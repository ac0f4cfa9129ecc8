"""Predictions from a file: how calibrated they are and what a calibrator does."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibration.examination import Examination
from calibration.findings.examination import FindingsExamination
from calibration.measured import Standing
from calibration.measures.reliability import ReliabilityBin, reliability
from model_store.bundle.diagram import diagram_file, reliability_diagram, scale_of
from serving.pages.rendering import render

_TONES = {
    Standing.OVERCONFIDENT: "off",
    Standing.UNDERCONFIDENT: "off",
    Standing.UNEVEN: "off",
    Standing.TOO_FEW: "early",
    Standing.NOT_SHOWN: "ok",
}


@dataclass(frozen=True, kw_only=True)
class PageText:
    """The sentences of a page.

    Attributes:
        title: names the predictions.
        verdict: in a sentence.
        notes: what to know before relying on it.
        taken: what was taken for what, as pairs.
    """

    title: str
    verdict: str
    notes: Sequence[str]
    taken: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class CalibrationText(PageText):
    """Of classes. `word`: the verdict in a few words; `calibrator`: what was fitted, or why nothing
    was.
    """

    word: str
    calibrator: str


@dataclass(frozen=True, kw_only=True)
class FindingsText(PageText):
    """Of findings. `words`: the verdict on one finding."""

    words: Mapping[Standing, str]


def calibration_page(examination: Examination, text: CalibrationText) -> str:
    bins = _bins(examination)
    scale = scale_of(bins.values())
    diagrams = {
        heading: reliability_diagram(each, of=f"rows, {heading.lower()}", scale=scale)
        for heading, each in bins.items()
    }
    return render(
        "calibration.html", **_values(examination, text), diagrams=diagrams, bins_by_heading=bins
    )


def calibration_fragment(examination: Examination, text: CalibrationText) -> str:
    """Render verdict, diagrams as pictures, and tables for a notebook."""
    bins = _bins(examination)
    scale = scale_of(bins.values())
    pictures = {
        heading: base64.b64encode(diagram_file(each, scale=scale).encode()).decode()
        for heading, each in bins.items()
    }
    return render("calibration_fragment.html", **_values(examination, text), pictures=pictures)


def _values(examination: Examination, text: CalibrationText) -> dict[str, object]:
    shown = examination.effect.classes_before if examination.effect else examination.classes
    return {
        "examination": examination,
        "text": text,
        "tone": _TONES[examination.standing],
        "effect": examination.effect,
        "classes": shown,
    }


def _bins(examination: Examination) -> Mapping[str, Sequence[ReliabilityBin]]:
    drawn = {"As given": reliability(examination.given.sums)}
    if examination.effect is not None:
        drawn["Calibrated, on rows it has not seen"] = reliability(examination.effect.after.sums)
    return drawn


def findings_page(examination: FindingsExamination, text: FindingsText) -> str:
    return render("calibration_findings.html", examination=examination, text=text)


def findings_fragment(examination: FindingsExamination, text: FindingsText) -> str:
    """Render verdict and tables for a notebook."""
    return render("calibration_findings_fragment.html", examination=examination, text=text)
