"""What an examination says, in the terminal, on the page and in a notebook."""

from collections.abc import Iterator
from typing import Final

from calibration.calibrators.portable import Subject
from calibration.calibrators.remedies import CASE_MIX, title_of
from calibration.examination import Effect, Examination
from calibration.measured import Standing
from calibration.measures.metrics import SMALLEST
from calibration.wording import counted, parameter, percent, points

WORDS = {
    Standing.TOO_FEW: "Too few rows to say",
    Standing.OVERCONFIDENT: "Overconfident",
    Standing.UNDERCONFIDENT: "Underconfident",
    Standing.UNEVEN: "Miscalibrated",
    Standing.NOT_SHOWN: "No miscalibration shown",
}

FINDING_WORDS: Final = {
    Standing.TOO_FEW: "too few rows to say",
    Standing.OVERCONFIDENT: "probabilities too high",
    Standing.UNDERCONFIDENT: "probabilities too low",
    Standing.UNEVEN: "miscalibrated",
    Standing.NOT_SHOWN: "no miscalibration shown",
}


def remedy_title(name: str, of: Subject) -> str:
    """The name of a remedy; without a reference, a bias is no correction of a case mix."""
    of_one = of == "confidence"
    is_bias = name == CASE_MIX.name and not of_one
    return "one bias per class" if is_bias else title_of(name, of_one=of_one)


def verdict(found: Examination) -> str:
    """Say how calibrated the predictions are, and what is not known."""
    measures, interval = found.given.measures, found.given.chance.gap
    bounds = f"{100 * interval.lower:+.1f} to {100 * interval.upper:+.1f} points"
    if found.standing is Standing.TOO_FEW:
        few = (
            counted(found.given.sums.total, "row")
            if found.groups is None
            else counted(found.groups, "group")
        )
        return (
            f"{few[:1].upper()}{few[1:]} say nothing about calibration yet: the 95 % interval of "
            f"confidence minus accuracy is {bounds}."
        )
    level = (
        f"ECE is {percent(measures.ece)}; perfectly calibrated predictions would show about "
        f"{percent(measures.noise_floor)} on as many rows."
    )
    if found.standing in (Standing.OVERCONFIDENT, Standing.UNDERCONFIDENT):
        return (
            f"On average {percent(measures.mean_confidence)} confident and right "
            f"{percent(measures.accuracy)} of the time. Confidence minus accuracy is {bounds} (95 "
            f"% interval). {level}"
        )
    if found.standing is Standing.UNEVEN:
        return (
            f"Confidence and accuracy agree on average ({percent(measures.mean_confidence)} and "
            f"{percent(measures.accuracy)}), but not answer by answer. {level}"
        )
    return f"{level} The labels do not exclude a true ECE of up to {percent(measures.ece_upper)}."


def calibrator_sentence(found: Examination) -> str:
    """Say what was fitted and what it does on unseen rows, or why nothing was fitted."""
    if found.effect is not None:
        return _effect(found, found.effect)
    if found.fit is None:
        return f"No calibrator was fitted: {found.refused}."
    if found.fit.choice.chosen is not None:
        title = remedy_title(found.fit.choice.chosen, found.of)
        return (
            f"{title[:1].upper()}{title[1:]} looks best of the remedies. But choosing and fitting "
            "it without the rows that judge it did not improve those, so the predictions are left "
            "alone."
        )
    return (
        "No calibrator improves predictions that it has not seen by more than chance: they are "
        "left alone."
    )


def notes(found: Examination) -> Iterator[str]:
    """Yield what to know before relying on it."""
    fit, effect = found.fit, found.effect
    if zeros := found.given.measures.nll_zeros:
        smallest = found.calibrator.smallest
        why = "as in scikit-learn" if smallest == SMALLEST else "a quarter of the last decimal"
        yield (
            f"{counted(int(zeros), 'row')} with a probability of 0 for the true class: every NLL "
            f"here counts a 0 as {smallest:.2g}, {why}."
        )
    if effect is not None and effect.changed:
        yield (
            f"The calibrator changes the predicted class of {effect.changed:,} of "
            f"{effect.after.measures.n:,} rows. Whether its sensitivity and specificity are "
            "acceptable is a clinical decision."
        )
    if fit is not None and fit.choice.better is not None:
        richer = remedy_title(fit.choice.better, found.of).capitalize()
        yield (
            f"{richer} would improve more, but may change the predicted class. Look at it with "
            f"{parameter('allow_label_changes', True)}."
        )
    if effect is not None and effect.after.chance.ece.lower > 0:
        yield (
            "The calibrated rows still show some miscalibration: no remedy that was tried fits "
            "them exactly."
        )
    if effect is not None and (worse := _worse_class(effect)):
        yield worse
    if found.groups is not None:
        yield (
            "Rows of one group are kept together in fits and intervals "
            f"({counted(found.groups, 'group')})."
        )
    else:
        yield (
            "Rows count as independent. If several belong to one patient, name the column with "
            f"{parameter('groups')}, or intervals are too short."
        )
    yield (
        "All figures hold for cases like these rows, if labels were not chosen by the answer. Rows "
        "that the model was trained on make it look better than it is."
    )


def _effect(found: Examination, effect: Effect) -> str:
    title, judged = remedy_title(found.calibrator.method, found.of), effect.fit
    how = (
        f"On {counted(effect.after.measures.n, 'row')} that were held out from the fit"
        if judged.judged == "held-out"
        else f"Cross-fitted, so that each of the {counted(effect.after.measures.n, 'row')} is "
        "judged by a calibrator that has not seen it"
    )
    before, after = effect.before.measures, effect.after.measures
    return (
        f"{title[:1].upper()}{title[1:]} was fitted on "
        f"{counted(judged.fitted_on, 'row')}{_numbers(found)}. {how}, ECE goes from "
        f"{percent(before.ece)} to {percent(after.ece)} (floor {percent(after.noise_floor)}) and "
        f"confidence minus accuracy from {points(before.signed_gap)} to {points(after.signed_gap)}."
    )


def _numbers(found: Examination) -> str:
    weight = found.calibrator.affine.weight
    return (
        f" (T = {1 / weight[0]:.2f})"
        if len(set(weight)) == 1 and found.calibrator.method != "case_mix"
        else ""
    )


def _worse_class(effect: Effect) -> str | None:
    """The class whose error grows most, if one grows beyond what it was anywhere before."""
    before = {each.name: abs(each.gap) for each in effect.classes_before if each.answers}
    after = {each.name: abs(each.gap) for each in effect.classes_after if each.answers}
    if not before or not after or max(after.values()) <= max(before.values()):
        return None
    name = max(after, key=lambda each: after[each])
    return (
        f'The error of answers of "{name}" grows from {points(before.get(name, 0.0))} to '
        f"{points(after[name])}: what helps on average does not help this class. More labels of "
        f"it, or {parameter('allow_label_changes', True)}, may help."
    )
