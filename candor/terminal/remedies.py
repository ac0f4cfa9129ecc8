"""How remedies compared, as a table: for `candor recalibrate` and for `candor calibrate`."""

from collections.abc import Callable

from rich.console import RenderableType

from calibration.calibrators.remedies import REMEDIES, RemedyChoice
from candor.terminal.tables import figure, table


def remedy_table(
    choice: RemedyChoice,
    *,
    unchanged: str,
    title: Callable[[str], str] = lambda name: REMEDIES[name].title,
    by_class: bool = True,
) -> list[RenderableType]:
    """Return the comparison, and why remedies were left out.

    `unchanged`: names the row without a remedy; `by_class`: whether the error of single classes
        means anything.
    """
    rows = [
        [
            unchanged,
            "0",
            figure(choice.served_nll),
            "-",
            "-",
            figure(choice.served_classwise_gap),
            "",
        ]
    ]
    rows += [
        [
            title(trial.name),
            str(trial.parameters),
            figure(trial.nll),
            figure(trial.improvement, sign=True),
            figure(trial.standard_error),
            figure(trial.classwise_gap),
            "chosen" if trial.name == choice.chosen else "",
        ]
        for trial in choice.trials
        if trial.excluded is None
    ]
    if not by_class:
        rows = [[*row[:5], row[6]] for row in rows]
    columns = (
        "",
        "parameters",
        "NLL",
        "improvement",
        "standard error",
        *(("largest class gap",) if by_class else ()),
        "",
    )
    left_out = [
        f"Not considered: {title(trial.name)}, because {trial.excluded}."
        for trial in choice.trials
        if trial.excluded
    ]
    heading = "Remedies, cross-validated; the simplest that no richer one beats is chosen"
    return [table(heading, columns, rows), *left_out]
