"""Gauges of operating points: rates of all answers, and how many are lower than promised."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from calibration.diagnosis.groups import ALL, TAG
from calibration.operating.facts import OperatingPoints
from monitoring.metrics.counters import Series

LOWER: Final = "candor_operating_points_lower"
_RATE: Final = (*Series._fields, "class", "rate")
_CLASS: Final = (*Series._fields, "class")
GAUGES: Final = {  # by name: the help text and the labels
    "candor_operating_point_ratio": (
        "Sensitivity, specificity or PPV of the labeled answers at the threshold in use.",
        _RATE,
    ),
    "candor_operating_point_lower_ratio": (
        "Lower end of the rate's interval, at every look at once.",
        _RATE,
    ),
    "candor_operating_point_upper_ratio": (
        "Upper end of the rate's interval, at every look at once.",
        _RATE,
    ),
    "candor_operating_point_promise_ratio": (
        "Lower end of the interval that the card promises for the rate.",
        _RATE,
    ),
    LOWER: (
        "Rates lower than the card promises beyond chance, in all answers (tag '') or with a tag.",
        (*Series._fields, "tag"),
    ),
    "candor_net_benefit_ratio": (
        "Net benefit per answer at the exchange rate for which the threshold in use is best.",
        _CLASS,
    ),
    "candor_auroc_ratio": ("AUROC of the latest period that has labels.", _CLASS),
}


def operating_samples(
    found: OperatingPoints, names: Series
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield the name, the labels and the value of each gauge of a version."""
    lower = Counter({"": 0})
    for rate in found.rates:
        group = rate.group
        tag = f"{group.key.removeprefix(TAG)}={group.values[0]}" if group.values else ""
        lower[tag] += rate in found.lower
        if group.key != ALL:
            continue
        labels, kind = (*names, rate.of, rate.name.value), "candor_operating_point"
        yield f"{kind}_ratio", labels, rate.rate.estimate
        yield f"{kind}_lower_ratio", labels, rate.rate.lower
        yield f"{kind}_upper_ratio", labels, rate.rate.upper
        if rate.promise is not None:
            yield f"{kind}_promise_ratio", labels, rate.promise.lower
    for tag, count in lower.items():
        yield LOWER, (*names, tag), count
    for each in found.net_benefits:
        if each.in_use:
            yield "candor_net_benefit_ratio", (*names, each.of), each.said.estimate
    latest = {each.of: each.auroc.estimate for each in found.aurocs}
    for of, value in latest.items():
        yield "candor_auroc_ratio", (*names, of), value
