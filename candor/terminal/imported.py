"""What `candor import` prints: what was found and tried, and how calibrated it is now."""

from collections.abc import Sequence
from typing import Any

from calibration.wording import counted
from candor.terminal.console import stdout
from candor.terminal.tables import MEASURES_COLUMNS, figure, measures_row, table
from model_store.bundle.finding_card import FindingCard, Rate
from model_store.foreign.model_import import ImportedModel
from model_store.foreign.truth import LabeledData

TRIALS_SHOWN = 12


def print_imported(
    done: ImportedModel, folder: str, *, promoted: bool, data: LabeledData | None
) -> None:
    """Print the findings, the trials, the card's figures, and the next command."""
    stdout.print("Found")
    for about, sentence in done.origin.found.items():
        stdout.print(f"  {about:<14}{sentence}")
    if done.origin.inferred:
        stdout.print("Inferred, since neither the file nor you say so")
        for each in done.origin.inferred:
            tested = "; labeled images agree" if each.tested else ""
            stdout.print(f"  {each.taken} ({each.why}{tested}); else {each.instead}")
    if done.trials:
        stdout.print()
        stdout.print(_trials(done))
    stdout.print()
    card = done.card
    stdout.print(f"Published {card.name} version {done.version} in {folder}")
    kind = "labeled" if data is not None else "made-up"
    stdout.print(
        "Before calibration, its probabilities differ from the file's own by at most "
        f"{done.difference.largest:.1e} on {counted(done.difference.images, f'{kind} image')}."
    )
    if data is not None:
        _print_figures(done, data)
    for note in done.notes:
        stdout.print(f"Note: {note}")
    if promoted:
        stdout.print(f"{card.name}: version {done.version} is in production. Next: candor serve")
    else:
        stdout.print(f"Next: candor promote {card.name} {done.version}")


def _print_figures(done: ImportedModel, data: LabeledData) -> None:
    """Print what was fitted on one half of the labeled images, and measured on the other."""
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
    stdout.print(
        f"{fitted}; the card's figures are from the other {held_out}. Kept together: "
        f"{data.grouped_by}."
    )
    if findings is None:
        stdout.print(table("", MEASURES_COLUMNS, [measures_row("held out", calibration.measures)]))
    else:
        stdout.print(_findings(findings))


def _findings(cards: Sequence[FindingCard]) -> object:
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
            *(figure(each.measures.get(key)) for key in ("auroc", "observed_expected", "ece")),
            figure(each.threshold),
            _share(each.promise.sensitivity),
            _share(each.promise.specificity),
        ]
        for each in cards
    ]
    return table("Held out", columns, rows)


def _share(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.value:.2f} ({rate.lower:.2f} to {rate.upper:.2f})"


def _trials(done: ImportedModel) -> object:
    rows = [
        [
            each.name,
            each.preprocessing.resize,
            figure(each.accuracy),
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


def import_json(done: ImportedModel, folder: str) -> dict[str, Any]:
    """Return the same for `--json`."""
    return {
        "folder": folder,
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
