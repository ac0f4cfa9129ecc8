"""The model card: a document of what card.json says, for people. Equal cards give equal bytes."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from calibration.document import (
    Diagram,
    FactList,
    FigureTable,
    Heading,
    Items,
    Part,
    Verdict,
)
from calibration.markdown import markdown
from calibration.measures.confusion import recall_intervals
from calibration.measures.reliability import reliability
from calibration.measures.summary import Measures
from calibration.measures.table import entries
from calibration.scope.verdict import least_p
from calibration.wording import counted, in_points, percent, percents
from model_store.bundle.calibration_card import CalibrationCard, Referral
from model_store.bundle.card import NO_PROMISE, Card, Origin
from model_store.bundle.finding_card import MEASURED, POINTS, measured, notes, points

DIAGRAM_FILE, MODEL_CARD_FILE = "reliability.svg", "model_card.md"
_SHOWN = ("accuracy", "mean_confidence", "signed_gap", "ece", "noise_floor", "brier", "nll")
_METHODS = {
    "none": "nothing",
    "temperature": "temperature scaling",
    "vector": "vector scaling (a weight and a bias per class)",
}
_LIMITS = (
    "The figures describe the reference. At another site, with another device or another mix of "
    "cases, confidence can be wrong: compare it with labels from there before you rely on it, and "
    "go on comparing. This is not a medical device."
)


def model_card(card: Card) -> str:
    """Return the card as Markdown, which shows the diagram in DIAGRAM_FILE beside it."""
    parts = [*card_document(card), "card.json has all of this, and more, for programs."]
    return markdown(parts, diagram_file=DIAGRAM_FILE)


def card_document(card: Card) -> list[Part]:
    """Return what a card says, from what the model is to its limits."""
    parts = (*_head(card), *_origin(card), *calibration_sections(card), *_scope(card))
    return [*parts, Heading("Limits"), _LIMITS]


def calibration_sections(card: Card) -> list[Part]:
    """Return how calibrated the model is, and what it promises."""
    sections = (*_KINDS[card.kind].body, _promises)
    return [*chain.from_iterable(section(card) for section in sections)]


def _head(card: Card) -> Iterator[Part]:
    shape, color = card.input, "gray" if card.input.channels == 1 else "RGB"
    kind, lacking = _KINDS[card.kind], card.uncalibrated
    larger = "stretched" if shape.resize == "stretch" else "cropped to this shape"
    calibrated = "" if lacking else "calibrated "
    yield Heading(f"{card.name}, version {card.version}", level=1)
    names = ", ".join(card.classes)
    yield f"An image classifier for {len(card.classes)} {kind.several}: {names}."
    yield FactList(
        [
            (
                "Input",
                f"one {color} image, {shape.height} x {shape.width} pixels; larger ones are "
                f"{larger}",
            ),
            (
                "Output",
                f"a {calibrated}probability for each {kind.one}; normalization and calibrator are "
                "in the graph",
            ),
        ]
    )
    if lacking:
        which = "" if len(lacking) == len(card.classes) else f" for {', '.join(lacking)}"
        yield Verdict(
            f"Not calibrated{which}",
            "No calibrator was fitted, so confidence is the network's own.",
            "off",
        )


def _origin(card: Card) -> Iterator[Part]:
    made = card.provenance
    rows = [] if made.imported is None else list(_imported(made.imported))
    rows.append(("Data", f"{made.dataset}, fingerprint {made.fingerprint[:16]}"))
    for split, counts in (made.training.images if made.training else {}).items():
        pairs = zip(counts, card.classes, strict=False)
        rows.append((f"Images, {split}", ", ".join(f"{count:,} {name}" for count, name in pairs)))
    if made.imported is None:
        beta = "" if made.beta is None else f" (beta {made.beta:g})"
        rows.append(("Network", made.backbone))
        rows.append(("Loss", f"{made.loss}{beta}; {made.epochs} epochs, seed {made.seed}"))
    rows.append(("Made", f"{made.created_at:%Y-%m-%d %H:%M} UTC"))
    if made.parent_version is not None:
        by = ", by a process, because of a drift alarm" if made.recalibrated_by == "alarm" else ""
        rows.append(("Recalibrated", f"from version {made.parent_version}{by}"))
    yield Heading("Where it comes from")
    yield FactList(rows)


def _imported(origin: Origin) -> Iterator[tuple[str, str]]:
    made = f"{origin.file}, made by {origin.producer}, sha256 {origin.sha256[:16]}"
    yield "Imported from", made
    yield from origin.found.items()
    if origin.trusted:
        yield "Trusted", "the pixels of an image may decide how long it runs"


def _calibration(card: Card) -> Iterator[Part]:
    calibration = card.calibration
    yield Heading("How calibrated it is")
    yield (
        f"Calibrated by {_METHODS.get(calibration.method, calibration.method)}, temperature "
        f"{calibration.temperature:.3g}. Reference: {calibration.reference_split}."
    )
    if not calibration.sums.total:
        yield "There was no labeled image, so nothing is known about its confidence."
    yield Diagram(calibration.reference_split, reliability(calibration.sums))
    columns = ("measure", "value", "meaning")
    yield FigureTable("", columns, list(_measures(calibration)), text=("value", "meaning"))
    if (found := calibration.contradicted) is not None:
        yield Verdict(
            f"Test contradicts the calibrator {found.method}",
            f"The model was published with{'' if calibration.applies(found) else 'out'} it. On "
            f"{found.images:,} test images it raises the negative log-likelihood from "
            f"{found.nll_before:.3f} to {found.nll_after:.3f} (standard error "
            f"{found.nll_error:.3f}) and takes the ECE from {percent(found.ece_before)} to "
            f"{percent(found.ece_after)}.",
            "off",
        )


def _caveats(card: Card) -> Iterator[Part]:
    calibration, trained = card.calibration, card.provenance.training
    for each in (trained and trained.shortcomings) or ():
        yield Verdict("Shortcoming", f"On test {each}.", "off")
    if calibration.reference_split == "val":
        yield (
            "The calibrator was fitted on these images too, so the figures are somewhat better "
            "than on new ones. They hold only for images like these."
        )
    if checked := card.verification:
        imported = card.provenance.imported is not None
        compared = "the bundle and the imported file" if imported else "ONNX Runtime and torch"
        real = "made-up" if imported and not calibration.sums.total else "real"
        yield (
            f"On {checked.images} {real} images, in one batch and one by one, {compared} differ by "
            f"at most {checked.max_difference:.1e} in a probability."
        )


def _subgroups(card: Card) -> Iterator[Part]:
    known = card.calibration.subgroups
    if not known:
        return
    yield Heading("Subgroups with a calibrator of their own")
    yield (
        "Answers to requests with such a tag go through it after the graph, in this order. Gaps "
        "are confidence minus accuracy on held-out labels of the subgroup."
    )
    rows = [
        (
            each.title,
            f"{each.temperature:.3g}",
            "no" if each.class_bias is None else "yes",
            f"{each.labels:,} + {each.held_out:,}",
            in_points(each.before.get("signed_gap")),
            in_points(each.after.get("signed_gap")),
            _referred(each.referral, card.referral),
        )
        for each in known
    ]
    heads = ("tag", "temperature", "class bias", "labels: fitted + held out")
    yield FigureTable("", (*heads, "gap before", "gap after", "referred below"), rows)


def _referred(own: Referral | None, whole: Referral | None) -> str:
    if own is not None:
        return percent(own.threshold, 2)
    return "-" if whole is None else "100 %: every answer"


def _findings(card: Card) -> Iterator[Part]:
    found, reference = card.asked, card.calibration
    texts = ("calibrator", "chosen by")
    yield Heading("How calibrated each finding is")
    yield f"Reference: {reference.reference_split}. The diagram pools all findings."
    if not reference.sums.total:
        yield "There was no labeled image, so nothing is known about its probabilities."
    yield Diagram(reference.reference_split, reliability(reference.sums))
    yield FigureTable("", MEASURED, list(measured(found)), text=texts)
    yield Heading("What the thresholds give")
    yield FigureTable("", POINTS, list(points(found)), text=texts)
    yield from notes(found)
    tags = [
        f"{each.name}: {'; '.join(one.title for one in each.calibration.subgroups)}"
        for each in found
        if each.calibration.subgroups
    ]
    if tags:
        yield Items([f"Tags with a calibrator of their own, {line}" for line in tags])


def _measures(calibration: CalibrationCard) -> Iterator[tuple[str, str, str]]:
    for entry in entries(Measures):
        value = calibration.measures.get(entry.name)
        if value is None:
            continue
        if entry.name == "n":
            yield entry.title, f"{value:,.0f}", "Labeled answers of the reference."
        elif entry.name == "ece":
            lower, upper = map(calibration.measures.get, ("ece_lower", "ece_upper"))
            yield entry.title, f"{percent(value)} ({percents(lower, upper)})", entry.text
        elif entry.name in _SHOWN:
            yield entry.title, entry.shown(value), entry.text


def _classes(card: Card) -> Iterator[Part]:
    confusion, recall = card.calibration.confusion, card.calibration.recall
    if confusion is None or recall is None:
        return
    rows = [
        (
            name,
            f"{sum(row):,}",
            "unknown" if share is None else percent(share),
            percents(ends.lower, ends.upper),
            *(f"{count:,}" for count in row),
        )
        for name, row, share, ends in zip(
            card.classes, confusion, recall, recall_intervals(confusion), strict=True
        )
    ]
    answered = (f"answered {name}" for name in card.classes)
    yield Heading("Answers by class")
    yield FigureTable("", ("true class", "images", "recall", "95 % interval", *answered), rows)


def _promises(card: Card) -> Iterator[Part]:
    lines = [*_promised(card), *(card.dropped_promises or ())]
    if lines:
        yield Heading("What it promises, for images like those of the reference")
        yield Items(lines)


def _promised(card: Card) -> Iterator[str]:
    if (referral := card.referral) is not None:
        yield (
            f"Answers with a confidence of at least {percent(referral.threshold, 2)} are right in "
            f"{percent(referral.promised_accuracy)} of cases or more, with probability "
            f"{percent(1 - referral.delta, 0)} over the choice of the reference images. "
            f"{percent(referral.coverage)} of its answers were such; a person should look at the "
            "others."
        )
    if (sets := card.conformal) is not None:
        yield (
            f"The classes with a probability of at least {percent(sets.threshold, 2)} contain the "
            f"true one in {percent(1 - sets.alpha, 0)} of cases; on average they are "
            f"{sets.mean_set_size:.2f} classes."
        )


def _scope(card: Card) -> Iterator[Part]:
    yield Heading("Images that it was not made for")
    if (scope := card.scope) is None:
        yield "The graph has no scope check: confidence does not tell such images apart."
        return
    low, high = scope.flagged.lower, scope.flagged.upper
    yield (
        f"scope_p compares {scope.features} with those of {counted(scope.fitted_on, 'image')}, and "
        f"is calibrated on {scope.flagged.n:,} others ({scope.reference_split}), so its least "
        f"value is {least_p(scope.flagged.n):.2g}. Of images like these, {percent(scope.alpha, 0)} "
        f"are flagged at {scope.alpha:g} on average over sets of calibration images; with this "
        f"set, {percents(low, high)}. {NO_PROMISE}"
    )


class _Kind(NamedTuple):
    """Words for classes or findings, and sections of their own."""

    one: str
    several: str
    body: tuple[Callable[[Card], Iterator[Part]], ...]


_KINDS: Final = {
    "classes": _Kind("class", "classes", (_calibration, _caveats, _subgroups, _classes)),
    "findings": _Kind(
        "finding", "findings, of which several may be present", (_findings, _caveats)
    ),
}
