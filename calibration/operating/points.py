"""All facts about operating points, from served answers and their labels.

If enough answers were drawn at random for an audit, their labels alone count.
"""

from dataclasses import replace

from calibration.diagnosis.answers import Answers
from calibration.diagnosis.groups import ALL
from calibration.diagnosis.selection import missing_labels
from calibration.operating.claims import claims_of
from calibration.operating.curves import aurocs, net_benefits
from calibration.operating.facts import LiveRate, OperatingPoints, RateStanding
from calibration.operating.rates import ALPHA, RateBasis, rates_of

ENOUGH = 100  # audited labels from which they alone decide
FEW_MISSING = 0.02  # of the labels that could have come


def operating_points(
    answers: Answers,
    basis: RateBasis,
    *,
    threshold: float | None = None,
    auroc_promised: dict[str, float] | None = None,
) -> OperatingPoints:
    """Return what labels show of a version, or of one finding of it, at its thresholds.

    Args:
        answers: labeled or not, oldest first.
        basis: what rates are judged by.
        threshold: of a finding: present from this probability on; None of exclusive classes.
        auroc_promised: by class, on the card.
    """
    labeled = answers.correct >= 0
    drawn = labeled if answers.drawn is None else labeled & answers.drawn
    audit = answers.drawn is not None and int(drawn.sum()) >= ENOUGH
    counted = drawn if audit else labeled
    missing, _ = missing_labels(answers if audit else replace(answers, drawn=None))
    is_chosen = bool(missing.sum() > FEW_MISSING * (missing.sum() + counted.sum()))
    claims = list(claims_of(answers, threshold))
    rates = rates_of(answers, claims, counted, basis, is_chosen=is_chosen)
    return OperatingPoints(
        labels=int(counted.sum()),
        audit=audit,
        is_chosen=is_chosen,
        chance=ALPHA,
        rates=tuple(sorted(rates, key=_order)),
        net_benefits=tuple(
            each for claim in claims for each in net_benefits(claim, counted, is_chosen=is_chosen)
        ),
        aurocs=tuple(each for claim in claims for each in aurocs(answers, claim, counted)),
        auroc_promised=auroc_promised or {},
    )


def _order(rate: LiveRate) -> tuple[int, float]:
    """Those that are lower, all answers, then tags; the farthest below its promise first."""
    place = 0 if rate.standing is RateStanding.LOWER else 1 + (rate.group.key != ALL)
    if rate.promise is None or place == 1:
        return place, 0.0
    return place, rate.rate.upper - rate.promise.lower
