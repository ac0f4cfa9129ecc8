"""Calibration by day of service as inline SVG: the error, what chance explains, and the gap."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from calibration.measures import metrics
from calibration.wording import in_points, percent
from console.axis import SHAPES, Axis, Chart, Mark, Plot
from console.formatting import calendar_day, span
from console.rendering import render
from monitoring.diagnosis.phrases import capital
from monitoring.diagnosis.vocabulary import OF_CLASSES
from monitoring.ledger.days import Days, gather
from monitoring.reports.page_data import WHOLE, Span

_POINT_LIMIT = 62  # longer spans are drawn in steps of several days
_LEAST = 0.05  # that the plot reaches, so that little error looks little
FEW_LABELS = 20  # below this a dot is hollow


class Dot(NamedTuple):
    """One day or a few around `day`. The gap is mean confidence minus accuracy (95 % interval)."""

    days: Days
    day: float
    ece: float
    floor: float
    limit: float
    labels: int
    accuracy: float
    gap: float
    gap_lower: float
    gap_upper: float

    @property
    def coverage(self) -> float:
        return self.labels / self.days.served if self.days.served else math.nan


def day_dots(days: Sequence[Days]) -> list[Dot]:
    """The points of the charts, at most 62; days without labels have none."""
    return [_dot(each) for each in gather(days, most=_POINT_LIMIT) if each.labeled.total]


def day_chart(
    dots: Sequence[Dot], marks: Sequence[Mark] = (), *, zoom: Span = WHOLE
) -> Chart | None:
    """The ECE of each day, and its range by chance on 19 of 20 days. None without labels."""
    return Chart(partial(_draw_ece, dots, marks, zoom)) if dots else None


def gap_chart(
    dots: Sequence[Dot],
    marks: Sequence[Mark] = (),
    *,
    gap: str = OF_CLASSES.gap,
    others: Sequence[Dot] = (),
    zoom: Span = WHOLE,
) -> Chart | None:
    """The gap of each day with its 95 % interval, beside that of `others`; `gap`: its name.

    None without labels.
    """
    return Chart(partial(_draw_gap, dots, others, marks, zoom, gap)) if dots else None


def _draw_ece(dots: Sequence[Dot], marks: Sequence[Mark], zoom: Span, *, width: int) -> Markup:
    axis = _axis(dots, marks, zoom, width=width)
    plot = Plot.upward(axis, max([_LEAST, *(max(dot.ece, dot.limit) for dot in dots)]))
    outside, highest = sum(dot.ece > dot.limit for dot in dots), max(dots, key=lambda dot: dot.ece)
    described = (
        f"Calibration error by day, {_from_to(dots)}: on {outside} of {len(dots)} points it is "
        f"above what chance explains. The highest is {percent(highest.ece)}, {highest.days}."
    )
    limits = plot.line([(dot.day, dot.limit) for dot in dots])
    floors = plot.line([(dot.day, dot.floor) for dot in dots])
    lines = {"limits": limits, "floors": floors}
    return _draw("day_chart.svg", plot, dots, marks, described, **lines)


def _draw_gap(
    dots: Sequence[Dot],
    others: Sequence[Dot],
    marks: Sequence[Mark],
    zoom: Span,
    gap: str,
    *,
    width: int,
) -> Markup:
    both = sorted([*dots, *others], key=lambda dot: dot.day)
    axis = _axis(both, marks, zoom, width=width)
    sure = [dot for dot in both if dot.labels >= FEW_LABELS] or both  # few labels are cut
    over, under = sum(dot.gap_lower > 0 for dot in dots), sum(dot.gap_upper < 0 for dot in dots)
    described = (
        f"{capital(gap)} by day, {_from_to(dots)}: the 95 % interval is above zero on "
        f"{over} of {len(dots)} points, and below it on {under}. The last is "
        f"{in_points(dots[-1].gap)}."
    )
    if others:
        outside = sum(not dot.gap_lower <= 0 <= dot.gap_upper for dot in others)
        described += f" Of all others, it excludes zero on {outside} of {len(others)} points."
    lowest, highest = min(dot.gap_lower for dot in sure), max(dot.gap_upper for dot in sure)
    plot = Plot.around_zero(axis, min(lowest, -_LEAST), max(highest, _LEAST))
    return _draw("gap_chart.svg", plot, dots, marks, described, others=others)


def _draw(
    template: str,
    plot: Plot,
    dots: Sequence[Dot],
    marks: Sequence[Mark],
    described: str,
    **values: Any,
) -> Markup:
    return render(
        template,
        plot=plot,
        axis=plot.axis,
        dots=dots,
        marks=plot.axis.placed(marks),
        described=described + "".join(plot.axis.in_words(marks)),
        shapes=SHAPES,
        few_labels=FEW_LABELS,
        **values,
    )


def _axis(dots: Sequence[Dot], marks: Sequence[Mark], zoom: Span, *, width: int) -> Axis:
    """All days and their marks; of a part that is looked at closely, its days alone."""
    first, last = dots[0].days.first, dots[-1].days.last
    if zoom == WHOLE:
        return Axis.around(first, last, marks, width=width)
    shown_first = first if zoom.first is None else min(first, zoom.first)
    shown_last = last if zoom.last is None else max(last, zoom.last)
    return Axis(shown_first, shown_last, width)


def _from_to(dots: Sequence[Dot]) -> str:
    return span(calendar_day(dots[0].days.first), calendar_day(dots[-1].days.last))


def _dot(each: Days) -> Dot:
    labeled, gap = each.labeled, metrics.signed_gap_interval(each.labeled)
    return Dot(
        days=each,
        day=(each.first + each.last) / 2,
        ece=metrics.ece(labeled),
        floor=metrics.noise_floor(labeled),
        limit=metrics.chance_limit(labeled),
        labels=labeled.total,
        accuracy=metrics.accuracy(labeled),
        gap=metrics.signed_gap(labeled),
        gap_lower=gap.lower,
        gap_upper=gap.upper,
    )
