"""What `candor recalibrate` prints, and the table of remedies that `candor calibrate` shares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from calibration.calibrators.remedies import title_of
from calibration.diagnosis.facts import GroupEffect
from calibration.document import Diagram, FigureTable, Heading, Part
from calibration.figures import (
    MEASURES_COLUMNS,
    bin_cells,
    bin_name,
    change,
    measures_row,
    remedy_table,
)
from calibration.wording import in_points
from candor.terminal.verb_result import VerbResult, next_step
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

    def document(self) -> Iterator[Part]:
        card = self.done.card
        yield from recalibration_document(RecalibrationPreview(self.done))
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


def recalibration_document(shown: RecalibrationPreview) -> list[Part]:
    """Return what a recalibration does, and what is to be known before it is promoted."""
    return [
        Heading(shown.headline),
        shown.sentence,
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


def _held_out_tables(shown: RecalibrationPreview) -> list[Part]:
    """Return measures, reliability and classes before and after, on held-out labels."""
    said = terms(shown.finding)
    measured = {"as served": shown.proposal.before, "recalibrated": shown.proposal.after}
    rows = [measures_row(name, each.as_dict()) for name, each in measured.items()]
    bins = [
        [bin_name(before), *bin_cells(before), *bin_cells(after)]
        for before, after in zip(shown.served, shown.recalibrated, strict=True)
        if before.n or after.n
    ]
    columns = [*map(said.reworded, MEASURES_COLUMNS)]
    return [
        FigureTable(f"On {shown.proposal.held_out} held-out labels", columns, rows),
        Diagram("as served", shown.served),
        Diagram("recalibrated", shown.recalibrated),
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
        class_table(shown.proposal.classes),
        effect_table(shown.fates, said),
    ]


def class_table(classes: Sequence[ClassChange]) -> Part:
    """Return sensitivity and specificity of each class, before and after."""
    rows = [
        [
            each.name,
            str(each.labels),
            change(each.sensitivity_before, each.sensitivity_after),
            change(each.specificity_before, each.specificity_after),
        ]
        for each in classes
    ]
    return FigureTable("Classes", ("", "n", "sensitivity", "specificity"), rows)


def effect_table(effects: Sequence[tuple[Fate, GroupEffect]], said: Terms) -> Part:
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
    title = "Subgroups, on labels not fitted on" + (f"; {more} more" if more > 0 else "")
    return FigureTable(title, ("", "n", f"{said.claim} - {said.share}", ""), rows)
