"""Calibration by day of service as inline SVG: the error with the range expected by chance, and its direction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from calibration import metrics
from calibration.bins import BinSums
from model_store.diagram import file_style
from monitoring.findings.phrases import percent
from monitoring.ledger.days import Days, gather
from monitoring.pages.day_axis import BOTTOM, NARROW, SHAPES, TOP, WIDE, DayAxis, Mark, WidthPair, in_words
from monitoring.pages.rendering import render

_POINT_LIMIT = 62  # longer spans are drawn in steps of several days
_Z90 = 1.645  # standard deviations that 19 of 20 stay under
FEW_LABELS = 20  # below this a dot is hollow


class Dot(NamedTuple):
    """One day or a few: `day` is their middle. The gap is mean confidence minus accuracy, with its 95 % interval."""

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
        """The share of answers with a label."""
        return self.labels / self.days.served if self.days.served else math.nan


def day_dots(days: Sequence[Days]) -> list[Dot]:
    """The points of the charts, at most 62; days without labels have none."""
    return [_dot(each) for each in gather(days, most=_POINT_LIMIT) if each.labeled.total]


def day_chart(dots: Sequence[Dot], marks: Sequence[Mark] = ()) -> WidthPair | None:
    """Draw the ECE of each day, and the range that it stays in on 19 of 20 days by chance. None without labels."""
    return WidthPair(*(_ece_drawn(dots, marks, width=width) for width in (WIDE, NARROW))) if dots else None


def gap_chart(dots: Sequence[Dot], marks: Sequence[Mark] = ()) -> WidthPair | None:
    """Draw confidence minus accuracy of each day with its 95 % interval. None without labels."""
    return WidthPair(*(_gap_drawn(dots, marks, width=width) for width in (WIDE, NARROW))) if dots else None


def day_chart_file(dots: Sequence[Dot], marks: Sequence[Mark] = ()) -> Markup:
    """Return the same drawing as an SVG file of its own."""
    return _ece_drawn(dots, marks, width=WIDE, own_style=file_style())


def gap_chart_file(dots: Sequence[Dot], marks: Sequence[Mark] = ()) -> Markup:
    """Return the same drawing as an SVG file of its own."""
    return _gap_drawn(dots, marks, width=WIDE, own_style=file_style())


def _ece_drawn(dots: Sequence[Dot], marks: Sequence[Mark], *, width: int, own_style: Markup | None = None) -> Markup:
    axis = _axis(dots, marks, width=width)
    highest = max([0.05, *(math.ceil(20 * max(dot.ece, dot.limit)) / 20 for dot in dots)])
    plot = _Plot(axis, 0.0, highest)
    return _drawn(
        "day_chart.svg",
        plot,
        marks,
        dots=dots,
        limits=plot.line([(dot.day, dot.limit) for dot in dots]),
        floors=plot.line([(dot.day, dot.floor) for dot in dots]),
        described=_ece_described(dots, axis.inside(marks)),
        own_style=own_style,
    )


def _gap_drawn(dots: Sequence[Dot], marks: Sequence[Mark], *, width: int, own_style: Markup | None = None) -> Markup:
    axis = _axis(dots, marks, width=width)
    furthest = max([0.05, *(math.ceil(10 * max(abs(dot.gap_lower), abs(dot.gap_upper))) / 10 for dot in dots)])
    plot = _Plot(axis, -furthest, furthest)
    described = _gap_described(dots, axis.inside(marks))
    return _drawn("gap_chart.svg", plot, marks, dots=dots, described=described, own_style=own_style)


def _drawn(template: str, plot: "_Plot", marks: Sequence[Mark], **values: Any) -> Markup:
    return render(
        template,
        plot=plot,
        axis=plot.axis,
        marks=plot.axis.placed(marks),
        shapes=SHAPES,
        few_labels=FEW_LABELS,
        **values,
    )


def _axis(dots: Sequence[Dot], marks: Sequence[Mark], *, width: int) -> DayAxis:
    return DayAxis.around(dots[0].days.first, dots[-1].days.last, marks, width=width)


def _ece_described(dots: Sequence[Dot], marks: Sequence[Mark]) -> str:
    """What the chart shows, in a few sentences."""
    outside, highest = sum(dot.ece > dot.limit for dot in dots), max(dots, key=lambda dot: dot.ece)
    return (
        f"Calibration error by day, {dots[0].days} to {dots[-1].days}: on {outside} of {len(dots)} points it is above "
        f"what chance explains. The highest is {percent(highest.ece)}, {highest.days}.{''.join(in_words(marks))}"
    )


def _gap_described(dots: Sequence[Dot], marks: Sequence[Mark]) -> str:
    over, under = sum(dot.gap_lower > 0 for dot in dots), sum(dot.gap_upper < 0 for dot in dots)
    return (
        f"Confidence minus accuracy by day, {dots[0].days} to {dots[-1].days}: the 95 % interval is above zero on "
        f"{over} of {len(dots)} points, and below it on {under}. The last is {percent(dots[-1].gap, signed=True)}."
        f"{''.join(in_words(marks))}"
    )


def chance_limit(labeled: BinSums) -> float:
    """The ECE that a calibrated model stays below with a probability of 95 %.

    ECE is then a sum of half-normal variables: its mean is the noise floor, its variance (1 - 2/pi) sum V / n^2.
    """
    spread = math.sqrt((1 - 2 / math.pi) * float(labeled.variance.sum())) / labeled.total
    return metrics.noise_floor(labeled) + _Z90 * spread


def _dot(each: Days) -> Dot:
    labeled, gap = each.labeled, metrics.signed_gap_interval(each.labeled)
    return Dot(
        days=each,
        day=(each.first + each.last) / 2,
        ece=metrics.ece(labeled),
        floor=metrics.noise_floor(labeled),
        limit=chance_limit(labeled),
        labels=labeled.total,
        accuracy=metrics.accuracy(labeled),
        gap=metrics.signed_gap(labeled),
        gap_lower=gap.lower,
        gap_upper=gap.upper,
    )


@dataclass(frozen=True)
class _Plot:
    """Maps shares from `lowest` to `highest` to the height of a chart over an axis of days."""

    axis: DayAxis
    lowest: float
    highest: float

    @property
    def ticks(self) -> list[float]:
        """The labeled shares."""
        return [self.lowest + part * (self.highest - self.lowest) for part in (0, 0.25, 0.5, 0.75, 1)]

    def y(self, share: float) -> float:
        """Where a share is; what is outside stands at the edge."""
        part = (share - self.lowest) / (self.highest - self.lowest)
        return round(BOTTOM - (BOTTOM - TOP) * min(max(part, 0.0), 1.0), 1)

    def line(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return (x, y) of (day, share) pairs; a single point becomes a short line."""
        placed = [(self.axis.x(day), self.y(share)) for day, share in points]
        x, y = placed[0]
        return [(x - 12, y), (x + 12, y)] if len(placed) == 1 else placed
