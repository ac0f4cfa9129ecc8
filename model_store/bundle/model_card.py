"""The model card: card.json in Markdown, for people. Equal cards give equal bytes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from calibration.measures.confusion import recall_intervals
from calibration.measures.summary import Measures
from calibration.measures.table import entries
from calibration.scope.verdict import least_p
from calibration.wording import in_points, percent, percents
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import NO_PROMISE, Card, FlaggedShare, Origin
from model_store.bundle.finding_card import MEASURED, POINTS, measured, notes, points

DIAGRAM_FILE, MODEL_CARD_FILE = "reliability.svg", "model_card.md"
_SHOWN = ("accuracy", "mean_confidence", "signed_gap", "ece", "noise_floor", "brier", "nll")
_METHODS = {
    "none": "nothing",
    "temperature": "temperature scaling",
    "vector": "vector scaling (a weight and a bias per class)",
}


def model_card(card: Card) -> str:
    """Return the card as Markdown, which shows the diagram in DIAGRAM_FILE beside it."""
    parts = (_head, _origin, *_KINDS[card.kind].body, _promises, _scope)
    return "\n".join([*chain.from_iterable(part(card) for part in parts), *_limits()])


def _head(card: Card) -> Iterator[str]:
    shape, color = card.input, "gray" if card.input.channels == 1 else "RGB"
    yield f"# {_text(card.name)}, version {card.version}\n"
    names = ", ".join(_text(name) for name in card.classes)
    kind, lacking = _KINDS[card.kind], card.uncalibrated
    yield f"An image classifier for {len(card.classes)} {kind.several}: {names}.\n"
    yield (
        f"- **Input**: one {color} image, {shape.height} x {shape.width} pixels; larger ones are "
        f"{'stretched' if shape.resize == 'stretch' else 'cropped to this shape'}."
    )
    what = f"a calibrated probability for each {kind.one}"
    if len(lacking) == len(card.classes):
        what = f"a probability for each {kind.one}, **not calibrated**"
    elif lacking:
        what += f", but **not calibrated** for {', '.join(map(_text, lacking))}"
    yield f"- **Output**: {what}; normalization and calibrator are in the graph."
    yield "- `card.json` has everything that is here, and more, for programs.\n"


def _origin(card: Card) -> Iterator[str]:
    made = card.provenance
    beta = "" if made.beta is None else f" (beta {made.beta:g})"
    yield "## Where it comes from\n"
    if made.imported is not None:
        yield from _imported(made.imported)
    yield f"- **Data**: {_text(made.dataset)}, fingerprint `{_text(made.fingerprint[:16])}`."
    if made.training is not None:
        for split, counts in made.training.images.items():
            pairs = zip(counts, card.classes, strict=False)
            named = ", ".join(f"{count:,} {_text(name)}" for count, name in pairs)
            yield f"    - {_text(split)}: {named}."
    if made.imported is None:
        yield f"- **Network**: {_text(made.backbone)}."
        yield f"- **Loss**: {_text(made.loss)}{beta}; {made.epochs} epochs, seed {made.seed}."
    yield f"- **Made**: {made.created_at:%Y-%m-%d %H:%M} UTC."
    if made.parent_version is not None:
        by = " by a process, because of a drift alarm" if made.recalibrated_by == "alarm" else ""
        yield f"- **Recalibrated**{by}, from version {made.parent_version}."
    yield ""


def _imported(origin: Origin) -> Iterator[str]:
    digest = _text(origin.sha256[:16])
    file, producer = _text(origin.file), _text(origin.producer)
    yield f"- **Imported** from {file}, made by {producer}, sha256 `{digest}`."
    yield from (
        f"    - {_text(about)}: {_text(sentence)}." for about, sentence in origin.found.items()
    )
    if origin.trusted:
        yield "    - trusted: the pixels of an image may decide how long it runs."


def _calibration(card: Card) -> Iterator[str]:
    calibration = card.calibration
    yield "## How calibrated it is\n"
    yield (
        f"Calibrated by {_METHODS.get(calibration.method, _text(calibration.method))}, temperature "
        f"{calibration.temperature:.3g}. Reference: {_text(calibration.reference_split)}.\n"
    )
    if not calibration.sums.total:
        yield "There was no labeled image, so nothing is known about its confidence.\n"
    yield f"![Reliability diagram]({DIAGRAM_FILE})\n"
    yield from _table(("measure", "value", "meaning"), _measures(calibration))
    if (found := calibration.contradicted) is not None:
        yield (
            f"**Test contradicts the calibrator {_text(found.method)}**, and the model was "
            f"published with{'' if calibration.applies(found) else 'out'} it: on "
            f"{found.images:,} test images it raises the negative log-likelihood from "
            f"{found.nll_before:.3f} to {found.nll_after:.3f} (standard error "
            f"{found.nll_error:.3f}) and takes the ECE from {percent(found.ece_before)} to "
            f"{percent(found.ece_after)}.\n"
        )


def _caveats(card: Card) -> Iterator[str]:
    calibration, trained = card.calibration, card.provenance.training
    for each in (trained and trained.shortcomings) or ():
        yield f"**On test** {_text(each)}.\n"
    if calibration.reference_split == "val":
        yield (
            "The calibrator was fitted on these images too, so the figures are somewhat better "
            "than on new ones. "
            "They hold only for images like these.\n"
        )
    if checked := card.verification:
        imported = card.provenance.imported is not None
        compared = "the bundle and the imported file" if imported else "ONNX Runtime and torch"
        real = "made-up" if imported and not calibration.sums.total else "real"
        yield (
            f"On {checked.images} {real} images, in one batch and one by one, {compared} differ "
            "by at most "
            f"{checked.max_difference:.1e} in a probability.\n"
        )


def _subgroups(card: Card) -> Iterator[str]:
    known = card.calibration.subgroups
    if not known:
        return
    yield "## Subgroups with a calibrator of their own\n"
    yield (
        "Answers to requests with such a tag go through it after the graph, in this order. Gaps "
        "are confidence minus accuracy on held-out labels of the subgroup.\n"
    )
    rows = (
        (
            _text(each.title),
            f"{each.temperature:.3g}",
            "no" if each.class_bias is None else "yes",
            f"{each.labels:,} + {each.held_out:,}",
            in_points(each.before.get("signed_gap")),
            in_points(each.after.get("signed_gap")),
            _referred(each.referral, card.referral),
        )
        for each in known
    )
    heads = ("tag", "temperature", "class bias", "labels: fitted + held out")
    yield from _table((*heads, "gap before", "gap after", "referred below"), rows)


def _referred(own: Referral | None, whole: Referral | None) -> str:
    if own is not None:
        return percent(own.threshold, 2)
    return "-" if whole is None else "100 %: every answer"


def _findings(card: Card) -> Iterator[str]:
    found, reference = card.asked, card.calibration
    yield "## How calibrated each finding is\n"
    yield f"Reference: {_text(reference.reference_split)}. The diagram pools all findings.\n"
    if not reference.sums.total:
        yield "There was no labeled image, so nothing is known about its probabilities.\n"
    yield f"![Reliability diagram]({DIAGRAM_FILE})\n"
    yield from _table(MEASURED, _texts(measured(found)))
    yield "## What the thresholds give\n"
    yield from _table(POINTS, _texts(points(found)))
    yield from (_text(each) + "\n" for each in notes(found))
    tags = [
        f"{each.name}: {'; '.join(one.title for one in each.calibration.subgroups)}"
        for each in found
        if each.calibration.subgroups
    ]
    yield from (f"- Tags with a calibrator of their own, {_text(line)}\n" for line in tags)


def _texts(rows: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    return ([_text(cell) for cell in row] for row in rows)


def _measures(calibration: CalibrationCard) -> Iterator[tuple[str, str, str]]:
    for entry in entries(Measures):
        value = calibration.measures.get(entry.name)
        if value is None:
            continue
        if entry.name == "n":
            yield entry.title, f"{value:,.0f}", "Labeled answers of the reference."
        elif entry.name in _SHOWN:
            yield entry.title, entry.shown(value), entry.text


def _classes(card: Card) -> Iterator[str]:
    confusion, recall = card.calibration.confusion, card.calibration.recall
    if confusion is None or recall is None:
        return
    yield "## Answers by class\n"
    rows = (
        (
            _text(name),
            f"{sum(row):,}",
            "unknown" if share is None else percent(share),
            percents(ends.lower, ends.upper),
            *(f"{count:,}" for count in row),
        )
        for name, row, share, ends in zip(
            card.classes, confusion, recall, recall_intervals(confusion), strict=True
        )
    )
    yield from _table(
        (
            "true class",
            "images",
            "recall",
            "95 % interval",
            *(f"answered {_text(name)}" for name in card.classes),
        ),
        rows,
    )


def _promises(card: Card) -> Iterator[str]:
    if not (card.referral or card.conformal or card.dropped_promises):
        return
    yield "## What it promises, for images like those of the reference\n"
    yield from _promised(card.referral, card.conformal)
    for dropped in card.dropped_promises or ():
        yield f"- {_text(dropped)}"
    yield ""


def _promised(referral: Referral | None, sets: ConformalCard | None) -> Iterator[str]:
    if referral is not None:
        yield (
            f"- Answers with a confidence of at least {percent(referral.threshold, 2)} are right "
            f"in {percent(referral.promised_accuracy)} of cases or more, with probability "
            f"{percent(1 - referral.delta, 0)} over the choice of the reference images. "
            f"{percent(referral.coverage)} of its answers were such; a person should look at the "
            "others."
        )
    if sets is not None:
        yield (
            f"- The classes with a probability of at least {percent(sets.threshold, 2)} contain "
            f"the true one in {percent(1 - sets.alpha, 0)} of cases; on average they are "
            f"{sets.mean_set_size:.2f} classes."
        )


def _scope(card: Card) -> Iterator[str]:
    yield "## Images that it was not made for\n"
    if card.scope is None:
        yield "The graph has no scope check: confidence does not tell such images apart.\n"
        return
    scope = card.scope
    yield (
        f"`scope_p` compares {_text(scope.features)} with those of {scope.fitted_on:,} images, and "
        f"is calibrated on {scope.flagged.n:,} others ({_text(scope.reference_split)}), so its "
        f"least value is {least_p(scope.flagged.n):.2g}. Of images like these, "
        f"{percent(scope.alpha, 0)} are flagged at {scope.alpha:g} on average over sets of "
        f"calibration images; with this set, {_between(scope.flagged)}. {NO_PROMISE}\n"
    )
    if scope.by_class:
        shares = scope.by_class.items()
        rows = ((_text(name), f"{each.n:,}", _between(each)) for name, each in shares)
        yield from _table((_KINDS[card.kind].answer, "images", "share flagged"), rows)


def _between(share: FlaggedShare) -> str:
    return percents(share.lower, share.upper)


def _limits() -> Iterator[str]:
    yield "## Limits\n"
    yield (
        "The figures describe the reference. At another site, with another device or another mix "
        "of cases, confidence can be wrong: compare it with labels from there before you rely on "
        "it, and go on comparing. This is not a "
        "medical device.\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _text(text: str) -> str:
    r"""Return text in which nothing is Markdown or HTML.

    >>> _text("a|b <i>*c*"), _text("two\nlines")
    ('a\\|b &lt;i>\\*c\\*', 'two lines')
    """
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{each}" if each in "\\`*_[]|#" else each for each in plain)


class _Kind(NamedTuple):
    """Words for classes or findings, and sections of their own."""

    one: str
    several: str
    answer: str
    body: tuple[Callable[[Card], Iterator[str]], ...]


_KINDS: Final = {
    "classes": _Kind(
        *("class", "classes", "predicted class"), (_calibration, _caveats, _subgroups, _classes)
    ),
    "findings": _Kind(
        *("finding", "findings, of which several may be present", "finding present"),
        (_findings, _caveats),
    ),
}
