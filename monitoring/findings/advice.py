"""The advice of a recommendation: what to do, as sentences, the first thing first."""

import math
from collections.abc import Iterator

from calibration.measures.metrics import Z95
from calibration.measures.summary import Measures
from monitoring.findings.accuracy import CLOSE, AccuracyAnswer, labels_for_accuracy
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.findings import Findings
from monitoring.findings.label_advice import audit_by, check_the_rest, tell_apart
from monitoring.findings.phrases import answers_in_slice, points
from monitoring.findings.recalibrations import PROPOSED, describe_recalibration
from monitoring.findings.status import Status

_TAG_LIMIT = 3  # alarms of tags with advice of their own
_TELLING = 20  # labels from which their mean confidence is taken for that of all answers
_LOW_COVERAGE = 0.05  # below this share of labeled answers the labels may well be an unusual choice


def give_advice(found: Findings) -> Iterator[str]:
    """Say what to do."""
    status, model = found.status, found.model
    if status is Status.ALARM:
        if found.is_rival and not found.is_cleared:
            yield tell_apart(found.selection, served_elsewhere=found.served_elsewhere)
        yield from _after_tag_alarms(found)  # first: one site may be all that is wrong
        if found.is_whole_alarm:
            yield from _after_alarm(found)
    elif status is Status.OFF:
        if found.is_rival:
            yield tell_apart(found.selection, served_elsewhere=found.served_elsewhere)
        yield _keep_labeling(found)
        yield "Look at the slices to see which answers are affected."
    elif status in (Status.EARLY, Status.NO_LABELS):
        yield _label_more(found.measures)
    about_accuracy = list(_about_accuracy(found)) if not found.is_whole_alarm else []
    if found.is_silent:
        draw = audit_by(served_elsewhere=found.served_elsewhere)
        yield (
            f"{draw[0].upper()}{draw[1:]}; or let all labels count again "
            f"""(`POST /models/{model}/report/reset` with `{{"audit": false}}`)."""
        )
    elif status is Status.OK and found.exception:
        yield (
            "Keep labeling, and look at the slices: if the error is real, the drift alarm will "
            "follow."
        )
    elif status is Status.OK and not about_accuracy:
        yield (
            "Nothing for now. Look again when the alarm is raised or when new labels have arrived."
        )
    yield from about_accuracy
    if status is Status.PARTLY:
        yield from check_the_rest(found.selection)
    told = found.is_rival
    if (
        found.selection.audit is None
        and found.selection.coverage < _LOW_COVERAGE
        and found.measures.n
        and not told
    ):
        yield (
            f"Fewer than {100 * _LOW_COVERAGE:.0f} % of answers have a label, and nothing shows "
            "how they were chosen. Start a random audit: "
            f"{audit_by(served_elsewhere=found.served_elsewhere)}; see docs/how-to/audits.md."
        )
    if any(warning.raised for warning in found.early_warnings):
        yield (
            f"The images or patients of {model} may have changed. Get labels of recent answers "
            "before you rely on older ones."
        )


def _keep_labeling(found: Findings) -> str:
    """Keep labeling what the drift watch hears."""
    if found.drift is not None and found.drift.audit:
        return (
            "Keep labeling the answers drawn for the audit, to which alone the drift alarm "
            "listens: if the error is real, it will follow."
        )
    return "Keep labeling: if the error is real, the drift alarm will follow."


def _after_alarm(found: Findings) -> Iterator[str]:
    drift, model = found.drift, found.model
    if found.is_cleared_by_all and found.is_cleared:
        yield (
            "The labels that raised the alarm came first, and all labels together show no such "
            "difference: the first ones favored one outcome, have been corrected since, or the "
            "error has ended. Acknowledge the alarm with a note (`POST "
            f"/models/{model}/report/acknowledge`). There is nothing to recalibrate."
        )
        return
    if found.is_cleared:
        yield (
            "The alarm was raised on labels that were chosen, and the audit shows no such "
            "difference: acknowledge the alarm with a note (`POST "
            f"/models/{model}/report/acknowledge`). Do not recalibrate on the chosen labels."
        )
        return
    since = (drift.alarm or {}).get("since") if drift else None
    on_labels, last = "", ""
    if since and since["from_first"]:
        yield _from_the_first(found)
    elif drift and since:
        yield (
            f"Find out what changed around label {since['label']:,}: device, protocol, ward, "
            "patients or software."
        )
        on_labels = " on the labels since then"
        last = f" --last {max(drift.labels_since_onset() or 0, FEW_LABELS)}"
    at_this_look = found.comparison.accuracy_as_served
    is_lower = found.accuracy.answer is AccuracyAnswer.LOWER
    is_worse = is_lower or (at_this_look.significant and at_this_look.difference < 0)
    if is_worse and not found.selection.is_fair:
        yield (
            f"If a fair sample shows that accuracy fell, roll back ({_earlier(found)}) or retrain: "
            "recalibration corrects confidence, not answers."
        )
    elif is_worse:
        fell = "Accuracy fell" if is_lower else "At this look accuracy is lower than on the card"
        yield (
            f"{fell}, and recalibration corrects confidence, not answers. If accuracy is now too "
            f"low, roll back ({_earlier(found)}) or retrain."
        )
    yield from _opposite_classes(found)
    if found.recalibration is not None:
        yield describe_recalibration(found.recalibration)
    if (
        found.recalibration is None or found.recalibration["outcome"] == PROPOSED
    ):  # otherwise it says what to do next
        yield _recalibrate(found, on_labels, last)
    yield (
        "Or fix the cause and acknowledge the alarm with a note (`POST "
        f"/models/{model}/report/acknowledge`); the watch then starts again."
    )


def _earlier(found: Findings) -> str:
    """How to roll back."""
    return (
        "the version before it"
        if found.served_elsewhere
        else f"`candor promote {found.model} VERSION`"
    )


def _recalibrate(found: Findings, on_labels: str, last: str) -> str:
    """How to recalibrate, on which labels."""
    rival, model = found.is_rival, found.model
    first = "Only if a fair sample shows the error too: recalibrate" if rival else "Recalibrate"
    if found.served_elsewhere:
        return (
            f"{first} the model{on_labels} where it is served, and log its answers as a new "
            "version."
        )
    if rival:
        return (
            f"{first} on that sample: `candor recalibrate {model}` if it is an audit, or `candor "
            f"recalibrate {model} --last N --chosen-labels` if it is the N labels that came last; "
            f"then `candor promote {model} VERSION`."
        )
    return (
        f"{first}{on_labels}: `candor recalibrate {model}{last}`, then `candor promote {model} "
        "VERSION`."
    )


def _from_the_first(found: Findings) -> str:
    """Nothing need have changed where the error may have been there from the first label on."""
    gap = found.card_gap
    if gap is not None:
        verb = "exceeded" if gap > 0 else "fell short of"
        return (
            f"Nothing need have changed: on its own card, confidence {verb} accuracy by "
            f"{points(abs(gap))} on the reference data already."
        )
    return (
        "Nothing need have changed, since the error may have been there from the first label on. "
        "Check whether images are prepared as in training, and whether patients and labels are of "
        "the kind that the card's reference has."
    )


def _after_tag_alarms(found: Findings) -> Iterator[str]:
    """What to do where one site, device or ward is in alarm."""
    for each in found.tag_alarms[:_TAG_LIMIT]:
        since = (each.alarm or {}).get("since")
        if since and since["from_first"]:
            yield (
                f"Nothing need have changed in answers with {each.tag}: the error may have been "
                "there from their first label on. Check how images are prepared there, and whether "
                "patients and labels differ."
            )
        elif since:
            yield (
                f"Find out what changed in answers with {each.tag} around their label "
                f"{since['label']:,}: device, protocol, patients or software."
            )
    if found.tag_alarms:
        which, tag = (
            ", ".join(each.tag for each in found.tag_alarms[:_TAG_LIMIT]),
            found.tag_alarms[0].tag,
        )
        quiet = "" if found.is_whole_alarm else "The alarm of all answers is quiet. "
        yield (
            f"{quiet}A recalibration changes all answers: if only those with {which} are off, "
            "repair the cause there, or serve them by a version of their own."
        )
        one = len(found.tag_alarms) == 1
        what = f"the alarm of {which} by itself" if one else f"the alarms of {which} one by one"
        yield (
            f"Acknowledge {what}, with a note (`POST /models/{found.model}/report/acknowledge` "
            "with "
            f"""`{{"tag": "{tag}"}}`)."""
        )


def _about_accuracy(found: Findings) -> Iterator[str]:
    """What to do about accuracy. After an alarm, the advice about the alarm includes it."""
    accuracy = found.accuracy
    if accuracy.answer is AccuracyAnswer.LOWER:
        if accuracy.chosen:
            yield (
                "Find out how the labels were chosen, before anything else: a fair sample may show "
                "no drop."
            )
        since = f" around {accuracy.since}" if accuracy.since else ""
        yield (
            f"Find out what changed{since}: device, protocol, ward, patients, software, or who "
            "sets the labels."
        )
        yield (
            f"If accuracy is too low for its purpose, roll back ({_earlier(found)}) or retrain on "
            "such images. Recalibration corrects confidence, not answers."
        )
    elif accuracy.answer is AccuracyAnswer.HIGHER:
        yield (
            "Accuracy is higher than on the card. Check that easy answers are not labeled more "
            "often than others; otherwise nothing needs to be done about it."
        )
    elif accuracy.answer is AccuracyAnswer.UNKNOWN and found.measures.n >= FEW_LABELS:
        needed = labels_for_accuracy(accuracy)
        if needed and needed > accuracy.n:
            yield (
                f"Keep labeling to know whether accuracy is as it was: about {needed:,} labels "
                f"show it to within {100 * CLOSE:.0f} points."
            )


def _opposite_classes(found: Findings) -> Iterator[str]:
    """Classes that err in opposite directions, which need a bias per class."""
    slices = found.slices
    classes = [
        each
        for each in (slices.significant if slices else ())
        if each.name.startswith("predicted:")
    ]
    over, under = ([each for each in classes if sign * each.signed_gap > 0] for sign in (1, -1))
    if over and under:
        option = "" if found.served_elsewhere else "--allow-label-changes, which adds "
        add = f"Recalibrate with {option}a bias per class, or retrain on such images."
        if found.is_rival:
            add = (
                "A choice of labels by true class shows the same. If a fair sample shows it too: r"
                + add[1:]
            )
        yield (
            f"Confidence is too high in {answers_in_slice(over[0].name)} and too low in "
            f"{answers_in_slice(under[0].name)}. A new temperature moves all classes alike and "
            f"cannot repair both. {add}"
        )


def _label_more(measures: Measures) -> str:
    """How many labels a first answer takes, and one that is known to within a few points."""
    needed = _labels_for(measures, half_width=0.05)
    which = f"About {needed:,} labels" if needed > FEW_LABELS else "They"
    return (
        f"Label at least {FEW_LABELS} answers. {which} show confidence minus accuracy to within 5 "
        "points."
    )


def _labels_for(measures: Measures, *, half_width: float) -> int:
    """Labels until the 95 % interval of the gap has that half width."""
    p = measures.mean_confidence if measures.n >= _TELLING else 0.8
    return math.ceil((Z95 / half_width) ** 2 * p * (1 - p))
