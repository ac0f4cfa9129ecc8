"""What `candor train` prints about a finished run."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from candor.terminal.measures import FURTHER_COLUMNS, MEASURES_COLUMNS, further_row, measures_row
from candor.terminal.tables import figure, table


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[RenderableType]:
    """Return one row per split and calibrator, marked where a figure needs a warning, and what was promised."""
    lines = {
        f"{split}, {method}{_marks(evaluation['calibrators'][method], split)}": measures
        for split, by_method in evaluation["splits"].items()
        for method, measures in by_method.items()
    }
    return [
        table(
            f"Temperature {evaluation['temperature']:.3f}",
            MEASURES_COLUMNS,
            [measures_row(name, measures) for name, measures in lines.items()],
        ),
        "",
        table(
            "Further measures (floors in parentheses)", FURTHER_COLUMNS, [further_row(*line) for line in lines.items()]
        ),
        "* fitted on these very answers, so its figures flatter it; ~ may change the predicted class\n",
        *_promises(evaluation),
    ]


def _promises(evaluation: Mapping[str, Any]) -> list[str]:
    referral, sets = evaluation["referral"], evaluation["conformal"]
    said = "Referral: no threshold can promise its accuracy on validation."
    if referral:
        kept = "; ".join(
            f"{split} {figure(each['accuracy'])} of the {figure(each['coverage'])} answered"
            for split, each in referral["kept"].items()
        )
        promise = f"promised accuracy {referral['promised_accuracy']}"
        said = f"Referral below confidence {referral['confidence']:.2f}: {promise}; {kept}."
    kept = "; ".join(
        f"{split} {figure(each['coverage'])} with {figure(each['mean_set_size'], 2)} classes a set"
        for split, each in sets["kept"].items()
    )
    return [said, f"Prediction sets: promised to hold the true class {1 - sets['alpha']:.0%} of the time; {kept}."]


def _marks(calibrator: Mapping[str, Any], split: str) -> str:
    marks = ("*" if calibrator["fitted_on"] == split else "") + ("" if calibrator["keeps_argmax"] else "~")
    return f" {marks}" if marks else ""
