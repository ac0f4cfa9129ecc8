"""What `candor import` made: what was found and tried, and how calibrated it is now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from calibration.wording import counted, percent, percents
from candor.terminal.tables import MEASURES_COLUMNS, figure, measures_row, table
from candor.terminal.verb_result import VerbResult, card_pictures, next_step
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingCard, Rate
from model_store.foreign.model_import import ImportedModel
from model_store.foreign.truth import LabeledData

TRIALS_SHOWN = 12


@dataclass(repr=False, eq=False)
class Imported(VerbResult):
    """A published import: what was found and tried, and how calibrated it is now.

    Attributes:
        done: card, version, trials and notes.
        folder: where the bundle is.
        promoted: whether it is in production.
        data: the labeled images, if there were any.
    """

    done: ImportedModel
    folder: str
    promoted: bool
    data: LabeledData | None

    @property
    def card(self) -> Card:
        return self.done.card

    @property
    def version(self) -> int:
        return self.done.version

    def parts(self) -> Iterator[RenderableType]:
        done, card = self.done, self.card
        yield "Found"
        for about, sentence in done.origin.found.items():
            yield f"  {about:<14}{sentence}"
        if done.origin.inferred:
            yield "Inferred, since neither the file nor you say so"
            for each in done.origin.inferred:
                tested = "; labeled images agree" if each.tested else ""
                yield f"  {each.taken} ({each.why}{tested}); else {each.instead}"
        if done.trials:
            yield from ("", _trials(done))
        yield f"\nPublished {card.name} version {done.version} in {self.folder}"
        kind = "labeled" if self.data is not None else "made-up"
        yield (
            "Before calibration, its probabilities differ from the file's own by at most "
            f"{done.difference.largest:.1e} on {counted(done.difference.images, f'{kind} image')}."
        )
        if self.data is not None:
            yield from _figures(done, self.data)
        yield from (f"Note: {note}" for note in done.notes)
        yield next_step(card, promoted=self.promoted)

    def pictures(self) -> dict[str, str]:
        return card_pictures(self.card)

    def as_dict(self) -> dict[str, Any]:
        done = self.done
        return {
            "folder": self.folder,
            "model": done.card.name,
            "version": done.version,
            "calibration": done.card.calibration.method,
            "temperature": done.card.calibration.temperature,
            "measures": done.card.calibration.measures,
            "found": done.origin.found,
            "inferred": [each.model_dump() for each in done.origin.inferred],
            "findings": [_finding(each) for each in done.card.findings or ()],
            "tried": [
                {
                    "preprocessing": each.name,
                    "resize": each.preprocessing.resize,
                    "accuracy": each.accuracy,
                    "nll": each.nll,
                    "images": each.images,
                }
                for each in done.trials
            ],
            "max_difference": done.difference.largest,
            "verified_on": done.difference.images,
            "notes": list(done.notes),
        }


def _figures(done: ImportedModel, data: LabeledData) -> Iterator[RenderableType]:
    """What was fitted on one half of the labeled images, and measured on the other."""
    held_out, calibration = int(data.held_out.sum()), done.card.calibration
    fitted = (
        f"Temperature {calibration.temperature:.3f}, fitted on {len(data.paths) - held_out} images"
        if calibration.method == "temperature"
        else "No temperature was fitted"
    )
    if (findings := done.card.findings) is not None:
        count = sum(each.calibration.method == "temperature" for each in findings)
        fitted = (
            f"{count} of {len(findings)} findings calibrated, on {len(data.paths) - held_out} "
            "images"
        )
    yield (
        f"{fitted}; the card's figures are from the other {held_out}. Kept together: "
        f"{data.grouped_by}."
    )
    if findings is None:
        yield table("", MEASURES_COLUMNS, [measures_row("held out", calibration.measures)])
    else:
        yield _findings(findings)


def _findings(cards: Sequence[FindingCard]) -> RenderableType:
    columns = (
        "finding",
        "positives",
        "AUROC",
        "obs./exp.",
        "ECE",
        "present from",
        "sens.",
        "spec.",
    )
    rows = [
        [
            each.name,
            f"{each.positives} of {each.labeled}",
            *(figure(each.measures.get(key)) for key in ("auroc", "observed_expected")),
            percent(each.measures.get("ece")),
            percent(each.threshold, 2),
            _share(each.promise.sensitivity),
            _share(each.promise.specificity),
        ]
        for each in cards
    ]
    return table("Held out", columns, rows)


def _share(rate: Rate | None) -> str:
    return "-" if rate is None else f"{percent(rate.value)} ({percents(rate.lower, rate.upper)})"


def _trials(done: ImportedModel) -> RenderableType:
    rows = [
        [
            each.name,
            each.preprocessing.resize,
            percent(each.accuracy),
            figure(each.nll),
            "chosen" if at == 0 else "",
        ]
        for at, each in enumerate(done.trials[:TRIALS_SHOWN])
    ]
    images = counted(done.trials[0].images, "labeled image")
    title = f"Preprocessings, on {images}; NLL after the temperature that fits best"
    return table(title, ("", "resize", "accuracy", "NLL", ""), rows)


def _finding(card: FindingCard) -> dict[str, Any]:
    calibration = card.calibration
    return {
        "name": card.name,
        "calibration": calibration.method,
        "temperature": calibration.temperature,
        "bias": (calibration.class_bias or (0.0, 0.0))[1],
        "threshold": card.threshold,
        "rule": card.rule.kind,
        "labeled": card.labeled,
        "positives": card.positives,
        "measures": card.measures,
        "promise": card.promise.model_dump(),
    }
