"""The parts that sentences share: points, and which answers a figure is about."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from calibration.diagnosis.facts import AnswerGroup, IntervalEstimate
from calibration.diagnosis.groups import confidences
from calibration.drift.tolerance import allowed_gap
from calibration.wording import counted, points, signed_points
from monitoring.diagnosis.vocabulary import OF_CLASSES, Terms

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
    'answers with a confidence of 0.26 to 0.462'
    """
    if group.key == "all":
        said = "all answers"
    elif group.key == "predicted":
        quoted = [f'"{each}"' for each in group.values]
        said = f"answers of {listed(quoted)}"
    elif group.key == "confidence":
        low, high = confidences(group)
        said = f"answers with {terms.range} of {low:.3g} to {high:.3g}"
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
