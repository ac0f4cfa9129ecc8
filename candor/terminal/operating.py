"""What `candor report` prints about operating points: rates, net benefit, AUROC over time."""

from collections.abc import Sequence

from calibration.document import FigureTable, Part
from calibration.figures import figure, interval
from calibration.operating.facts import LiveRate, NetBenefit, OperatingPoints, PeriodAuroc
from calibration.wording import counted, percent, percents
from monitoring.diagnosis.phrases import basis_words, day, known_words, rate_words
from monitoring.diagnosis.vocabulary import terms

_SHOWN = 12  # rows of a table
_FEW_RATES = (1.0, 9.0, 99.0)  # of several classes
_NOTE = (
    "Per answer; flagging nobody is 0. Moved: with the best threshold for true probabilities at "
    "that rate. Labels that may have been chosen by outcome give net benefit no interval."
)


def operating_tables(found: OperatingPoints, finding: str) -> list[Part]:
    """Return the tables of a version, or of one finding of it; none without labels."""
    if not found.labels:
        return []
    rates = found.shown
    rows = [_rate(each, finding) for each in rates[:_SHOWN]]
    columns = ("", "live", "at every look", "promised", "n", "")
    parts: list[Part] = [
        FigureTable("At the threshold in use", columns, rows),
        basis_words(found),
    ]
    if len(rates) > _SHOWN:
        parts.append(f"and {counted(len(rates) - _SHOWN, 'more rate')}")
    return [*parts, *_benefits(found.net_benefits, finding), *_aurocs(found, finding)]


def _rate(each: LiveRate, finding: str) -> list[str]:
    promise = each.promise
    return [
        rate_words(each, finding),
        percent(each.rate.estimate),
        percents(each.rate.lower, each.rate.upper),
        percents(promise.lower, promise.upper) if promise else "-",
        f"{each.n:,}",
        known_words(each),
    ]


def _benefits(benefits: Sequence[NetBenefit], finding: str) -> list[Part]:
    several = len({each.of for each in benefits}) > 1
    rows = [
        [
            _exchange(each, finding),
            figure(each.said.estimate),
            interval(each.said.lower, each.said.upper),
            figure(each.moved),
            figure(each.everyone),
        ]
        for each in benefits
        if each.in_use or not several or each.exchange in _FEW_RATES
    ]
    columns = ("a case found is worth", "as used", "at every look", "moved", "everybody")
    return [FigureTable("Net benefit", columns, rows[:_SHOWN]), _NOTE] if rows else []


def _exchange(each: NetBenefit, finding: str) -> str:
    named, plural = terms(finding).named(each.of), "s" * (each.exchange != 1)
    return f"{named}: {each.exchange:g} false alarm{plural}{' (in use)' * each.in_use}"


def _aurocs(found: OperatingPoints, finding: str) -> list[Part]:
    latest: list[PeriodAuroc] = list(found.aurocs[-_SHOWN:])
    rows = [
        [
            f"{terms(finding).named(each.of)}: {day(each.since_s)} to {day(each.until_s)}",
            figure(each.auroc.estimate),
            interval(each.auroc.lower, each.auroc.upper),
            f"{each.positives:,} of {each.n:,}",
            figure(found.auroc_promised.get(each.of)),
        ]
        for each in latest
    ]
    columns = ("", "AUROC", "95 % interval", "positives", "card")
    return [FigureTable("AUROC over time", columns, rows)] if rows else []
