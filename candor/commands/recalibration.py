"""`candor recalibrate`: choose a remedy on labeled answers, look at it, publish it, try it out."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import (
    JsonOption,
    LedgerOption,
    ModelArgument,
    StoreOption,
    open_ledger,
    open_store,
    option,
)

if TYPE_CHECKING:
    from calibration.diagnosis.facts import AnswerGroup


def recalibrate(
    model: ModelArgument,
    version: Annotated[int | None, option("Version to start from (default: production).")] = None,
    subgroup: Annotated[
        str | None,
        option(
            "Recalibrate only answers with this tag, or several of its values; all others stay as "
            "they are.",
            "--for",
            metavar="KEY=VALUE,...",
        ),
    ] = None,
    finding: Annotated[
        str | None, option("The finding to recalibrate, of a model that has several.")
    ] = None,
    since: Annotated[
        str | None,
        option("Use only answers served since this day or time (UTC), such as 2026-10-01."),
    ] = None,
    last: Annotated[int | None, option("Use only the latest N labels (default: all).")] = None,
    min_labels: Annotated[int, option("Refuse to fit on fewer labels than this.")] = 100,
    allow_label_changes: Annotated[
        bool,
        option("Consider remedies that may change the predicted class.", "--allow-label-changes"),
    ] = False,
    chosen_labels: Annotated[
        bool,
        option(
            "Publish although answers lack labels and nothing shows how the others were chosen.",
            "--chosen-labels",
        ),
    ] = False,
    accept_harm: Annotated[
        bool, option("Publish although the remedy makes subgroups worse.", "--accept-harm")
    ] = False,
    preview: Annotated[
        bool, option("Show before and after, and publish nothing.", "--preview")
    ] = False,
    html: Annotated[
        Path | None,
        option("Also write before and after to this file, with diagrams, as one HTML page."),
    ] = None,
    canary: Annotated[
        float | None, option("Let the new version answer this share of the requests.", min=0, max=1)
    ] = None,
    shadow: Annotated[
        bool,
        option("Let the new version compute beside production, without answering.", "--shadow"),
    ] = False,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> object:
    """Fit a calibrator on labeled answers from the ledger and publish it.

    Compares a temperature, a correction for a changed case mix, a
    temperature with one bias per class, and vector scaling, and takes the
    simplest that no richer one beats. Labels of a random audit are used
    before all others. Refuses if nothing improves by a standard error.

    With --for the new version has a calibrator for this subgroup, chosen by
    the tags of a request, fitted on its labels alone.

    The new version is not promoted; `candor promote` does that.

    Example: candor recalibrate chest --preview
    """
    from candor.terminal.progress import bars
    from candor.terminal.recalibration import Recalibrated
    from model_store.lifecycle.canary import start_canary
    from monitoring.recalibration import AnswerFilter, RecalibrationPreview, read_since
    from monitoring.recalibration import recalibrate as fit
    from serving.pages.recalibration_page import recalibration_page

    if (canary is not None) + shadow + preview > 1:
        raise typer.BadParameter("give only one of --preview, --canary and --shadow")
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
                    group=_group(subgroup),
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
        html.write_text(recalibration_page(RecalibrationPreview(done)), encoding="utf-8")
    made = Recalibrated(done, html, is_draft=preview, on_trial=canary is not None or shadow)
    return made.as_dict() if json_out else made


def _group(text: str | None) -> "AnswerGroup | None":
    from model_store.errors import TagsInvalid
    from monitoring.recalibration import read_group

    try:
        return None if text is None else read_group(text)
    except TagsInvalid as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
