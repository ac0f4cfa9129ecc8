"""What `candor recalibrate` prints: how the remedies compared, and before and after on held-out labels."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from calibration.bins import BinSums, FloatArray
from calibration.metrics import top_label
from calibration.reliability import ReliabilityBin, reliability
from calibration.remedies import REMEDIES
from candor.terminal.measures import MEASURES_COLUMNS, measures_row
from candor.terminal.remedies import remedy_table
from candor.terminal.tables import figure, interval, table
from monitoring.findings.phrases import points
from monitoring.pages.recalibration_page import ClassRow, recalibration_page
from monitoring.recalibration import ClassChange, Proposal, Recalibration


def recalibration_tables(done: Recalibration) -> list[RenderableType]:
    """Return the parts of a recalibration in the order in which they are printed."""
    return [
        f"{sentence(done)}\n",
        *remedy_table(done.proposal.choice, unchanged="as served"),
        *held_out_tables(done.proposal),
        *(f"Note: {line}" for line in notes(done)),
    ]


def page(done: Recalibration) -> str:
    """Return what is printed as one HTML file with reliability diagrams."""
    proposal = done.proposal
    return recalibration_page(
        title=f"Recalibration of {done.card.name} version {done.parent_version}",
        sentence=sentence(done),
        diagrams={
            "As served": _reliability(proposal.served, proposal),
            "Recalibrated": _reliability(proposal.probabilities, proposal),
        },
        classes=[
            ClassRow(
                each.name,
                each.labels,
                (each.sensitivity_before, each.sensitivity_after),
                (each.specificity_before, each.specificity_after),
                (each.gap_before, each.gap_after),
            )
            for each in proposal.classes
        ],
        notes=[f"{note[:1].upper()}{note[1:]}" for note in notes(done)],
    )


def sentence(done: Recalibration) -> str:
    """Say which remedy was chosen, on which labels."""
    proposal, title = done.proposal, REMEDIES[done.proposal.remedy].title
    labels = "labels of the random audit" if proposal.audited else "labels"
    return (
        f"{title[:1].upper()}{title[1:]} was fitted on {proposal.fitted_on} {labels} of version {done.parent_version} "
        f"(temperature {done.old_temperature:.3f} -> {done.new_temperature:.3f}). The other {proposal.held_out} labels "
        "measure what it does."
    )


def held_out_tables(proposal: Proposal) -> list[RenderableType]:
    """Return measures, reliability and classes before and after, on the labels that were not used to fit."""
    measured = {"as served": proposal.before, "recalibrated": proposal.after}
    rows = [measures_row(name, each.as_dict()) for name, each in measured.items()]
    return [
        "",
        table(f"On {proposal.held_out} held-out labels", MEASURES_COLUMNS, rows),
        "",
        table(
            "Reliability",
            ("confidence", "n", "accuracy", "95 % interval", "n after", "accuracy after", "95 % interval"),
            list(_bins(proposal)),
        ),
        "",
        class_table(proposal.classes),
        "",
    ]


def class_table(classes: Sequence[ClassChange]) -> RenderableType:
    """Return sensitivity, specificity and gap of each class, before and after."""
    rows = [
        [
            each.name,
            str(each.labels),
            _change(each.sensitivity_before, each.sensitivity_after),
            _change(each.specificity_before, each.specificity_after),
            _change(each.gap_before, each.gap_after, sign=True),
        ]
        for each in classes
    ]
    return table("Classes", ("", "n", "sensitivity", "specificity", "confidence - accuracy"), rows)


def notes(done: Recalibration) -> Iterator[str]:
    """Yield what has to be known before the version is promoted."""
    proposal = done.proposal
    if not REMEDIES[proposal.remedy].keeps_argmax:
        yield (
            f"this version changes the predicted class of {proposal.changed} of the {proposal.held_out} held-out "
            "answers. Whether its sensitivity and specificity are acceptable is a clinical decision."
        )
    if proposal.choice.better is not None:
        yield (
            f"{REMEDIES[proposal.choice.better].title} would improve more, but may change the predicted class. Look at "
            "it with --preview --allow-label-changes."
        )
    gap = next(trial.classwise_gap for trial in proposal.choice.trials if trial.name == proposal.remedy)
    if gap > proposal.choice.served_classwise_gap:
        yield (
            f"the largest error of a class rises from {points(proposal.choice.served_classwise_gap)} to {points(gap)}. "
            "Retrain, or label more answers of that class."
        )
    if not done.fair_labels:
        yield (
            "nothing shows how these labels were chosen. If wrong answers are labeled more often than right ones, the "
            "fit is wrong too. A random audit (CANDOR_AUDIT_SHARE) excludes that."
        )
    yield from done.dropped


def _change(before: float, after: float, *, sign: bool = False) -> str:
    return f"{figure(before, sign=sign)} -> {figure(after, sign=sign)}"


def _bins(proposal: Proposal) -> Iterator[list[str]]:
    pairs = zip(
        *(_reliability(p, proposal) for p in (proposal.served, proposal.probabilities)),
        strict=True,
    )
    for before, after in pairs:
        if before.n or after.n:
            yield [f"({before.lower:.2f}, {before.upper:.2f}]", *_bar(before), *_bar(after)]


def _reliability(probabilities: FloatArray, proposal: Proposal) -> list[ReliabilityBin]:
    confidence, predicted = top_label(probabilities)
    return reliability(BinSums.from_predictions(confidence, predicted == proposal.true_classes))


def _bar(row: ReliabilityBin) -> list[str]:
    return [str(row.n), figure(row.accuracy), interval(row.accuracy_lower, row.accuracy_upper)]
