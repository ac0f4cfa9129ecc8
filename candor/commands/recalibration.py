"""`candor recalibrate`: choose a remedy on labeled answers, look at it, publish it, try it out."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from calibration.wording import parameter
from candor.commands.options import (
    FilePath,
    Place,
    Within,
    WrongUse,
    open_ledger,
    open_store,
    unused,
)
from candor.commands.verb import verb

if TYPE_CHECKING:
    from calibration.diagnosis.facts import AnswerGroup
    from candor.terminal.recalibration import Recalibrated


@verb
def recalibrate(
    model: str,
    *,
    version: int | None = None,
    for_: Annotated[str | None, "KEY=VALUE,..."] = None,
    finding: str | None = None,
    since: str | None = None,
    last: int | None = None,
    min_labels: int = 100,
    allow_label_changes: bool = False,
    chosen_labels: bool = False,
    accept_harm: bool = False,
    preview: bool = False,
    html: FilePath | None = None,
    canary: Annotated[float | None, Within(0, 1)] = None,
    shadow: bool = False,
    store: Place | None = None,
    ledger: str | None = None,
) -> "Recalibrated":
    """Fit a calibrator on labeled answers from the ledger and publish it.

    Compares a temperature, a correction for a changed case mix, a temperature with one bias per
    class, and vector scaling, and takes the simplest that no richer one beats. Labels of a random
    audit are used before all others. Refuses if nothing improves by a standard error.

    For a subgroup the new version has a calibrator of its own, chosen by the tags of a request and
    fitted on its labels alone.

    The new version is not promoted; `candor promote` does that.

    Example: candor recalibrate chest --preview

    Args:
        version: Version to start from (default: production).
        for_: Recalibrate only answers with this tag, or several of its values; all others stay as
            they are.
        finding: The finding to recalibrate, of a model that has several.
        since: Use only answers served since this day or time (UTC), such as 2026-10-01.
        last: Use only the latest N labels (default: all).
        min_labels: Refuse to fit on fewer labels than this.
        allow_label_changes: Consider remedies that may change the predicted class.
        chosen_labels: Publish although answers lack labels and nothing shows how the others were
            chosen.
        accept_harm: Publish although the remedy makes subgroups worse.
        preview: Show before and after, and publish nothing.
        html: Also write before and after to this file, with diagrams, as one HTML page.
        canary: Let the new version answer this share of the requests.
        shadow: Let the new version compute beside production, without answering.

    Returns:
        The proposal and the card of the next version: `done`.

    Raises:
        Refused: too few labels, no remedy helps, or the ledger or store cannot be used.
    """
    from candor.terminal.progress import bars
    from candor.terminal.recalibration import Recalibrated
    from console.recalibration_page import recalibration_page
    from model_store.store.canary import start_canary
    from monitoring.recalibration import AnswerFilter, RecalibrationPreview, read_since
    from monitoring.recalibration import recalibrate as fit

    if (canary is not None) + shadow + preview > 1:
        preview_, canary_, shadow_ = map(parameter, ("preview", "canary", "shadow"))
        raise WrongUse(f"give only one of {preview_}, {canary_} and {shadow_}")
    if preview:
        unused("a preview publishes nothing", accept_harm=accept_harm)
    with open_ledger(ledger, reading=preview) as answers:
        opened = open_store(store)
        with bars() as progress:
            compared = partial(progress, f"Fitting {model} on its labels")
            compared(0, 1)
            done = fit(
                answers,
                opened,
                model,
                version=version,
                finding=finding,
                answer_filter=AnswerFilter(
                    since_ns=None if since is None else read_since(since),
                    last=last,
                    group=_group(for_),
                ),
                min_labels=min_labels,
                allow_label_changes=allow_label_changes,
                chosen_labels=chosen_labels,
                accept_harm=accept_harm,
                publish=not preview,
                compared=compared,
            )
    if canary is not None or shadow:
        start_canary(
            opened,
            model,
            done.card.version,
            mode="shadow" if shadow else "share",
            share=canary or 0.0,
        )
    if html is not None:
        page = recalibration_page(RecalibrationPreview(done))
        Path(html).write_text(page, encoding="utf-8")
    return Recalibrated(done, html, is_draft=preview, on_trial=canary is not None or shadow)


def _group(text: str | None) -> "AnswerGroup | None":
    from model_store.errors import TagsInvalid
    from monitoring.recalibration import read_group

    try:
        return None if text is None else read_group(text)
    except TagsInvalid as error:
        raise WrongUse(f"{parameter('for_')}: {error}") from None
