"""The words for operating points, for terminal, page and report."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL, TAG
from calibration.operating.facts import LiveRate, OperatingPoints, RateName, RateStanding
from calibration.wording import counted, percent
from monitoring.diagnosis.phrases import capital, day
from monitoring.diagnosis.vocabulary import terms

STANDINGS: Final = {
    RateStanding.LOWER: "lower",
    RateStanding.AS_PROMISED: "as promised",
    RateStanding.UNKNOWN: "not known",
}
RATES: Final = {
    RateName.SENSITIVITY: "sensitivity",
    RateName.SPECIFICITY: "specificity",
    RateName.PPV: "PPV",
}


def rate_words(rate: LiveRate, finding: str = "") -> str:
    """Name a rate: of which class or finding, and where."""
    return named_rate(rate.name, terms(finding).named(rate.of), tag_of_group(rate.group))


def named_rate(name: str, of: str, tag: str | None) -> str:
    """Name a rate, a `RateName`, of answers with a tag such as `site=B`, or of all.

    >>> named_rate("ppv", "Edema", "site=B")
    'PPV of Edema at site B'
    """
    where = f" at {tag.replace('=', ' ', 1)}" if tag else ""
    return f"{RATES[RateName(name)]} of {of}{where}"


def tag_of_group(group: AnswerGroup) -> str | None:
    """Return the tag that a group of answers has, None of all answers."""
    return None if group.key == ALL else f"{group.key.removeprefix(TAG)}={group.values[0]}"


def lower_words(found: OperatingPoints, finding: str = "") -> Iterator[str]:
    """Say how far the first rate that is lower is below what the card promises."""
    for each in found.lower[:1]:
        yield lower_sentence(as_detail(each, finding))


def as_detail(rate: LiveRate, finding: str = "") -> dict[str, Any]:
    """Return what the history keeps of a rate that is lower than promised."""
    promise = rate.promise
    return {
        "rate": rate.name.value,
        "of": terms(finding).named(rate.of),
        "tag": tag_of_group(rate.group),
        "since_s": rate.since_s,
        "interval": [rate.rate.estimate, rate.rate.lower, rate.rate.upper],
        "promise": None if promise is None else [promise.lower, promise.upper],
    }


def lower_sentence(detail: Mapping[str, Any]) -> str:
    """Say how far a rate is below its promise, from `as_detail`."""
    since = "" if detail["since_s"] is None else f" since {day(detail['since_s'])}"
    is_now, least, most = map(percent, detail["interval"])
    promised = " to ".join(map(percent, detail["promise"] or ()))
    return (
        f"{capital(named_rate(detail['rate'], detail['of'], detail['tag']))} is {is_now}{since} "
        f"({least} to {most}); the card promises {promised}."
    )


def lower_rates(found: OperatingPoints, finding: str = "") -> str:
    """Name the first rate that is lower than promised, and how many others are; empty if none."""
    if not found.lower:
        return ""
    others = len(found.lower) - 1
    also = f" and {counted(others, 'other rate')} are" if others else " is"
    return rate_words(found.lower[0], finding) + also


def basis_words(found: OperatingPoints) -> str:
    """Say which labels the figures rest on."""
    drawn = " of answers drawn at random" if found.audit else ""
    chosen = (
        " Labels may have been chosen by outcome: figures of all answers may differ."
        if found.is_chosen
        else ""
    )
    return f"From {counted(found.labels, 'label')}{drawn}.{chosen}"


def known_words(rate: LiveRate) -> str:
    """Say what a rate is compared with its promise, or how many labels would tell."""
    if rate.promise is None:
        return "no promise"
    if rate.standing is RateStanding.UNKNOWN and rate.more:
        return f"known after {rate.more:,} more ({counted(rate.more_labels, 'label')})"
    return STANDINGS[rate.standing]
