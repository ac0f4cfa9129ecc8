"""The parts that sentences share: points, which answers a figure is about, operating points, and
what is said about labels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from calibration.diagnosis.facts import AnswerGroup, main_deviation
from calibration.diagnosis.groups import ALL, TAG, confidences
from calibration.drift.bets import allowed_gap
from calibration.measures.estimates import IntervalEstimate
from calibration.operating.facts import LiveRate, OperatingPoints, RateName, RateStanding
from calibration.wording import counted, percent, percents, points, signed_points
from monitoring.diagnosis.facts import Diagnosis
from monitoring.diagnosis.vocabulary import (
    CLOCK,
    OF_CLASSES,
    PROXY,
    READINGS,
    Terms,
    terms,
)

_NAMED = 3  # in a row


def tolerance(ratio: float, flat: bool = False) -> str:
    """The drift watch's setting, and what it is in percentage points at a confidence; or, `flat`,
    as a factor on the odds of a finding.

    >>> tolerance(0.025), tolerance(0.1, flat=True)
    ('0.025 (1.0 points at 80 %)', '0.1 (a factor of 1.11 in odds)')
    """
    if flat:
        return f"{ratio:.3g} (a factor of {math.exp(ratio):.2f} in odds)"
    return f"{ratio:g} ({points(float(allowed_gap(0.8, ratio)))} at 80 %)"


def answers_of(name: str) -> str:
    return f'answers of "{name}"'


def answers_in_slice(name: str) -> str:
    """The answers of a slice, by its name in the ledger.

    >>> answers_in_slice("predicted:pneumonia"), answers_in_slice("tag:site=A")
    ('answers of "pneumonia"', 'answers with site=A')
    """
    kind, _, value = name.partition(":")
    return answers_of(value) if kind == "predicted" else f"answers with {value}"


def answers_in_stream(stream: str, name: str | None) -> str:
    """The answers of one stream of the drift detector.

    >>> answers_in_stream("class", "pneumonia"), answers_in_stream("all", None)
    ('answers of "pneumonia"', 'all answers')
    """
    if stream == "class":
        return answers_of(name or "")
    return f"answers with a confidence of {name}" if stream == "bin" else "all answers"


def day(at_s: float, *, year: bool = True) -> str:
    """A day (UTC).

    >>> day(0), day(0, year=False)
    ('1 Jan 1970', '1 Jan')
    """
    at = datetime.fromtimestamp(at_s, tz=UTC)
    return f"{at.day} {at:%b %Y}" if year else f"{at.day} {at:%b}"


def listed(names: Sequence[str]) -> str:
    """Names in a row, at most three.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"])
    ('a and b', 'a, b, c and 1 more')
    """
    shown = names[:_NAMED]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def age(seconds: float) -> str:
    """How long ago, in days."""
    return counted(round(seconds / 86_400), "day") if math.isfinite(seconds) else "a long time"


def gap_words(gap: IntervalEstimate) -> str:
    """A gap with its interval, in points."""
    return f"{signed_points(gap.estimate)} ({between(gap)})"


EACH_SINCE: Final = "Figures of each finding since its last change, of those affected"


def since_words(found: Diagnosis, since_s: float | None) -> str:
    """Say since when the figures of now are, and of whom; empty if they are of all labels."""
    if since_s is None:
        return ""
    first = main_deviation(found.deviations)
    if first is None or first.until is not None:
        return f"Since {day(since_s)}, when the last error ended"
    return f"Since {day(since_s)}, of {group_words(first.group, terms(found.finding))}"


def slices_words(found: Diagnosis, since_s: float | None) -> str:
    """Say since when slices are, and in which of them those affected count."""
    first = main_deviation(found.deviations)
    if first is None or first.until is not None or first.group.key == ALL:
        return since_words(found, since_s)
    who = group_words(first.group, terms(found.finding))
    if since_s is None:
        return f"Affected answers of {who} count in each slice"
    return f"Since {day(since_s)}; affected answers count for {who} alone"


def between(interval: IntervalEstimate) -> str:
    return f"{signed_points(interval.lower)} to {signed_points(interval.upper)}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def answers_there(wanted: int, there: int | None) -> str:
    """So many answers: those that are there, and then those to come; `there` None: not known.

    >>> answers_there(300, 400), answers_there(300, None)
    ('300 answers', '300 answers')
    >>> answers_there(2_656, 400), answers_there(300, 0)
    ('all 400 and the next 2,256 answers', 'the next 300 answers')
    """
    if there is None or there >= wanted:
        return counted(wanted, "answer")
    so_far = f"all {there:,} and " if there else ""
    return f"{so_far}the next {counted(wanted - there, 'answer')}"


def group_words(group: AnswerGroup, terms: Terms = OF_CLASSES) -> str:
    """Name the answers of a group.

    >>> group_words(AnswerGroup("tag:site", ("B", "")))
    'site B and unknown'
    >>> group_words(AnswerGroup("predicted", ("melanoma",), AnswerGroup("tag:site", ("B",))))
    'answers of "melanoma" at site B'
    >>> group_words(AnswerGroup("confidence", ("0.2599-0.345", "0.345-0.4616")))
    'answers with a confidence of 26.0 to 46.2 %'
    """
    if group.key == "all":
        said = "all answers"
    elif group.key == "predicted":
        quoted = [f'"{each}"' for each in group.values]
        said = f"answers of {listed(quoted)}"
    elif group.key == "confidence":
        low, high = confidences(group)
        said = f"answers with {terms.range} of {percents(low, high)}"
    elif group.key == "drawn":
        said = "labels drawn at random" if group.values == ("yes",) else "labels not drawn"
    else:
        values = [each or "unknown" for each in group.values or ("",)]
        said = f"{group.key.removeprefix('tag:')} {listed(values)}"
    return said if group.within is None else f"{said} {within_words(group.within)}"


def within_words(group: AnswerGroup) -> str:
    """Where the answers of a group are."""
    said = group_words(group)
    return f"at {said}" if group.key.startswith("tag:") else f"in {said}"


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


def label_words(found: Diagnosis) -> Iterator[str]:
    """Say what is known about the labels of a diagnosis."""
    for proxy in found.other_labels.proxies:
        yield PROXY.format(
            source=proxy.source or "no source",
            answers=counted(proxy.answers, "answer"),
            both=f"{proxy.discordance.n:,}",
            agreement=percent(proxy.discordance.agreement),
        )
    if (clock := found.basis.clock) is not None:
        when = "later" if clock.behind_s > 0 else "earlier"
        yield CLOCK.format(who=group_words(clock.group), days=age(abs(clock.behind_s)), when=when)
    readings = found.other_labels.second_readings
    if readings.discordance.n:
        yield READINGS.format(
            different=f"{readings.different:,}",
            pairs=f"{readings.discordance.n:,}",
            error=percent((rate := readings.error_rate).estimate),
            interval=f"{percent(rate.lower)} to {percent(rate.upper)}",
        )
