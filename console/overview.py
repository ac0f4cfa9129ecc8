"""The findings of a model: one verdict for all, a row for each, and their figures as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from calibration.diagnosis.facts import Deviation, main_deviation
from calibration.diagnosis.groups import ALL
from calibration.measures.estimates import IntervalEstimate
from calibration.operating.facts import LiveRate, RateName, RateStanding
from calibration.wording import percent
from console.formatting import grouped
from console.interval_chart import Forest
from console.sections import TONES
from console.spark import sparkline
from monitoring.diagnosis.facts import State
from monitoring.diagnosis.phrases import RATES, listed
from monitoring.diagnosis.vocabulary import SHORT, terms
from monitoring.diagnosis.words import Words, words_of
from monitoring.ledger.days import Days
from monitoring.reports.findings import WORST_FIRST, FindingsReport
from monitoring.reports.report import ReportSummary

_TOLD: Final = 2  # findings of which a verdict says the figures


def ongoing(report: ReportSummary) -> Deviation | None:
    """The error that goes on; None without one."""
    first = main_deviation(report.diagnosis.deviations)
    return None if first is None or first.until is not None else first


def shown_gap(report: ReportSummary) -> IntervalEstimate:
    """The gap of those affected, or of all answers where no error goes on."""
    named = ongoing(report)
    return report.diagnosis.bounds if named is None else named.inside.gap


class Verdict(NamedTuple):
    """How the findings of a model stand: a style class, a headline and sentences."""

    tone: str
    title: str
    summary: tuple[str, ...]


def alike(findings: Sequence[ReportSummary]) -> list[ReportSummary]:
    """The findings that are in the worst state, of findings sorted by seriousness."""
    return [each for each in findings if each.diagnosis.state is findings[0].diagnosis.state]


def verdict_of(findings: Sequence[ReportSummary]) -> Verdict:
    """One verdict for findings sorted by seriousness: it names all that are in the worst state."""
    worst, state = alike(findings), findings[0].diagnosis.state
    said = terms(findings[0].finding)
    others = Counter(each.diagnosis.state for each in findings[len(worst) :])
    rest = [f"{count} {SHORT[each]}" for each in WORST_FIRST if (count := others[each])]
    told = [
        f"{each.finding}: {sentence[:1].lower()}{sentence[1:]}"
        for each in worst[:_TOLD]
        if state is not State.FINE
        for sentence in words_of(each.diagnosis).summary[:1]
    ]
    of_others = [f"Of the other findings: {listed(rest)}."] if rest else []
    named = f"{listed([each.finding for each in worst])}{_direction(worst)}"
    what = f"all findings are {said.fine}" if state is State.FINE and not rest else named
    return Verdict(TONES[state], f"{SHORT[state].capitalize()}: {what}", (*told, *of_others))


def _direction(findings: Sequence[ReportSummary]) -> str:
    """What is wrong, where it is the same with all of them."""
    gaps = [None if (named := ongoing(each)) is None else named.inside.gap for each in findings]
    sides = {None if gap is None else gap.estimate > 0 for gap in gaps}
    if len(sides) > 1 or None in sides:
        return ""
    said = terms(findings[0].finding)
    return f" {said.too_high if sides.pop() else said.too_low}"


class FindingLine(NamedTuple):
    """A finding in short: what was said and found, of those affected if an error goes on.

    `figures`: more of it, by name.
    """

    report: ReportSummary
    tone: str
    words: Words
    said: float
    found: float
    gap: IntervalEstimate
    drawn: Markup
    spark: Markup
    figures: dict[str, str]


def finding_values(
    overview: FindingsReport, gaps: Mapping[str, Sequence[Days]] = MappingProxyType({})
) -> dict[str, Any]:
    """What pages about all findings show; `gaps`: the days of each, by the title of its report."""
    shown = map(shown_gap, overview.findings)
    forest = Forest.of(end for gap in shown for end in (gap.lower, gap.upper))
    lines = [_line(each, forest, gaps.get(each.title, ())) for each in overview.findings]
    return {"overview": overview, "lines": lines, "figures": [*lines[0].figures]}


def _line(report: ReportSummary, forest: Forest, days: Sequence[Days]) -> FindingLine:
    named, measures, gap = ongoing(report), report.measures, shown_gap(report)
    inside = None if named is None else named.inside
    return FindingLine(
        report,
        TONES[report.diagnosis.state],
        words_of(report.diagnosis),
        measures.mean_confidence if inside is None else inside.confidence,
        measures.accuracy if inside is None else inside.accuracy.estimate,
        gap,
        forest.draw(gap.estimate, gap.lower, gap.upper),
        sparkline(days),
        _figures(report),
    )


def _figures(report: ReportSummary) -> dict[str, str]:
    """Calibration error, labels, and the rates of all answers at the threshold in use."""
    measures, known = report.measures, report.coverage
    whose, rates = (
        " (affected)" if report.elsewhere else "",
        report.diagnosis.operating_points.rates,
    )
    of_all = {rate.name: rate for rate in rates if rate.group.key == ALL}
    return {
        "calibration error (ECE)": percent(measures.ece) + whose,
        "by chance": percent(measures.noise_floor),
        "labels (of answers)": f"{grouped(known.labeled)} of {grouped(known.served)}",
    } | {f"{RATES[name]} (promised)": _rate(of_all.get(name)) for name in RateName}


def _rate(rate: LiveRate | None) -> str:
    if rate is None:
        return "-"
    promise, lower = rate.promise, rate.standing is RateStanding.LOWER
    promised = f" ({percent(promise.lower)} to {percent(promise.upper)})" if promise else ""
    return f"{percent(rate.rate.estimate)}{', lower' if lower else ''}{promised}"
