"""What `candor recalibrate` prints, and the table of remedies that `candor calibrate` shares."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from rich.console import RenderableType

from calibration.calibrators.remedies import REMEDIES, RemedyChoice, title_of
from calibration.diagnosis.facts import GroupEffect
from calibration.wording import counted, in_points, percent
from candor.terminal.tables import (
    MEASURES_COLUMNS,
    FigureTable,
    bin_cells,
    bin_name,
    change,
    figure,
    measures_row,
    worded,
)
from candor.terminal.verb_result import VerbResult, next_step
from model_store.bundle.diagram import diagram_file, scale_of
from monitoring.diagnosis.vocabulary import Terms, terms
from monitoring.http.json_body import plain
from monitoring.recalibration import Recalibration, RecalibrationPreview
from monitoring.recalibration.preview import Fate
from monitoring.recalibration.proposal import ClassChange
from monitoring.recalibration.subgroup import name_of

EFFECTS_SHOWN = 30


@dataclass(repr=False, eq=False)
class Recalibrated(VerbResult):
    """A recalibration, published or only looked at.

    Attributes:
        done: the proposal, and the card of the next version.
        html: the page with the diagrams, if it was asked for.
        is_draft: whether nothing was published; `on_trial`: whether it is a canary or a shadow.
    """

    done: Recalibration
    html: str | PathLike[str] | None
    is_draft: bool
    on_trial: bool

    def parts(self) -> Iterator[RenderableType]:
        card = self.done.card
        yield from recalibration_tables(RecalibrationPreview(self.done))
        if self.html is not None:
            yield f"The diagrams are in {self.html}"
        if self.is_draft:
            yield "This was a preview: nothing was published."
        elif self.on_trial:
            yield (
                f"Published as version {card.version}, on trial. Next: candor canary status "
                f"{card.name}"
            )
        else:
            yield f"Published as version {card.version}. {next_step(card, promoted=False)}"

    def as_dict(self) -> dict[str, Any]:
        return dict(plain(self.done.as_dict())) | {"published": not self.is_draft}

    def pictures(self) -> dict[str, str]:
        shown = RecalibrationPreview(self.done)
        drawn = {"as served": shown.served, "recalibrated": shown.recalibrated}
        scale = scale_of(drawn.values())
        return {name: str(diagram_file(bins, scale=scale)) for name, bins in drawn.items()}


def recalibration_tables(shown: RecalibrationPreview) -> list[RenderableType]:
    """Return the parts of a recalibration in the order in which they are printed."""
    return [
        f"{shown.headline}.\n",
        f"{shown.sentence}\n",
        *remedy_table(
            shown.proposal.choice,
            unchanged="as served",
            title=partial(title_of, of_one=terms(shown.finding).of_one),
        ),
        *_held_out_tables(shown),
        *note_lines(shown),
    ]


def note_lines(shown: RecalibrationPreview) -> list[str]:
    """Return what has to be known before the version is promoted, a line each."""
    return [f"Note: {line}" for line in (shown.changes, *shown.notes, *shown.warnings)]


def _held_out_tables(shown: RecalibrationPreview) -> list[RenderableType]:
    """Return measures, reliability and classes before and after, on held-out labels."""
    said = terms(shown.finding)
    measured = {"as served": shown.proposal.before, "recalibrated": shown.proposal.after}
    rows = [measures_row(name, each.as_dict()) for name, each in measured.items()]
    bins = [
        [bin_name(before), *bin_cells(before), *bin_cells(after)]
        for before, after in zip(shown.served, shown.recalibrated, strict=True)
        if before.n or after.n
    ]
    return [
        "",
        FigureTable(
            f"On {shown.proposal.held_out} held-out labels", worded(MEASURES_COLUMNS, said), rows
        ),
        "",
        FigureTable(
            "Reliability",
            (
                said.claim,
                "n",
                said.share,
                "95 % interval",
                "n after",
                f"{said.share} after",
                "95 % interval",
            ),
            bins,
        ),
        "",
        class_table(shown.proposal.classes, said),
        "",
        effect_table(shown.fates, said),
        "",
    ]


def class_table(classes: Sequence[ClassChange], said: Terms) -> RenderableType:
    """Return sensitivity, specificity and gap of each class, before and after."""
    rows = [
        [
            each.name,
            str(each.labels),
            change(each.sensitivity_before, each.sensitivity_after),
            change(each.specificity_before, each.specificity_after),
            change(each.gap_before, each.gap_after, in_points),
        ]
        for each in classes
    ]
    return FigureTable(
        "Classes", ("", "n", "sensitivity", "specificity", f"{said.claim} - {said.share}"), rows
    )


def effect_table(effects: Sequence[tuple[Fate, GroupEffect]], said: Terms) -> RenderableType:
    """Return the gap of each subgroup before and after: the mended first, then those worse off."""
    rows = [
        [
            name_of(each.group),
            str(each.n),
            change(each.before, each.after, in_points),
            fate.value if fate in (Fate.MENDED, Fate.WORSE) else "",
        ]
        for fate, each in effects[:EFFECTS_SHOWN]
    ]
    more = len(effects) - EFFECTS_SHOWN
    title = "Subgroups, cross-validated" + (f"; {more} more" if more > 0 else "")
    return FigureTable(title, ("", "n", f"{said.claim} - {said.share}", ""), rows)


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
            percent(choice.served_classwise_gap),
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
            percent(trial.classwise_gap),
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
    heading = (
        f"Remedies, cross-validated on {counted(choice.rows, 'label')}; the simplest that no "
        "richer one beats is chosen"
    )
    return [FigureTable(heading, columns, rows), *left_out]
