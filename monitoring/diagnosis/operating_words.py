"""The words for operating points, for terminal, page and report."""

from collections.abc import Iterator
from typing import Final

from calibration.diagnosis.groups import ALL, TAG
from calibration.operating.facts import LiveRate, OperatingPoints, RateName, RateStanding
from calibration.wording import counted, percent
from monitoring.diagnosis.phrases import capital, day

STANDINGS: Final = {
    RateStanding.LOWER: "lower",
    RateStanding.AS_PROMISED: "as promised",
    RateStanding.UNKNOWN: "not known",
}
_RATES: Final = {
    RateName.SENSITIVITY: "sensitivity",
    RateName.SPECIFICITY: "specificity",
    RateName.PPV: "PPV",
}


def rate_words(rate: LiveRate, finding: str = "") -> str:
    """Name a rate: of which class or finding, and where."""
    group = rate.group
    where = "" if group.key == ALL else f" at {group.key.removeprefix(TAG)} {group.values[0]}"
    return f"{_RATES[rate.name]} of {finding or rate.of}{where}"


def lower_words(found: OperatingPoints, finding: str = "") -> Iterator[str]:
    """Say how far the first rate that is lower is below what the card promises."""
    for each in found.lower[:1]:
        if each.promise is None:
            continue
        since = "" if each.since_s is None else f" since {day(each.since_s)}"
        yield (
            f"{capital(rate_words(each, finding))} is {percent(each.rate.estimate)}{since} "
            f"({percent(each.rate.lower)} to {percent(each.rate.upper)}); the card promises "
            f"{percent(each.promise.lower)} to {percent(each.promise.upper)}."
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
