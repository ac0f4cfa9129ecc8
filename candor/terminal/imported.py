"""What `candor import` prints: what was found and tried, and how calibrated it is now."""

from calibration.wording import counted
from candor.terminal.console import stdout
from candor.terminal.tables import MEASURES_COLUMNS, figure, measures_row, table
from model_store.foreign.labeled_folder import LabeledImages
from model_store.foreign.model_import import ImportedModel

TRIALS_SHOWN = 12


def print_imported(
    done: ImportedModel, folder: str, *, promoted: bool, data: LabeledImages | None
) -> None:
    """Print the findings, the trials, the card's figures, and the next command."""
    stdout.print("Found")
    for about, sentence in done.findings.items():
        stdout.print(f"  {about:<14}{sentence}")
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
        held_out = int(data.held_out.sum())
        calibration = card.calibration
        fitted = (
            f"Temperature {calibration.temperature:.3f}, fitted on {len(data.paths) - held_out} "
            "images"
            if calibration.method == "temperature"
            else "No temperature was fitted"
        )
        stdout.print(
            f"{fitted}; the card's figures are from the other {held_out}. Kept together: "
            f"{data.grouped_by}."
        )
        stdout.print(table("", MEASURES_COLUMNS, [measures_row("held out", calibration.measures)]))
    for note in done.notes:
        stdout.print(f"Note: {note}")
    if promoted:
        stdout.print(f"{card.name}: version {done.version} is in production. Next: candor serve")
    else:
        stdout.print(f"Next: candor promote {card.name} {done.version}")


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
