"""The gap of the latest labeled days as a small line."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from calibration.measures import metrics
from calibration.wording import in_points
from console.formatting import calendar_day
from console.rendering import render
from monitoring.ledger.days import Days

_SPARK_DAYS: Final = 30
_SPARK: Final = (110, 20)


def sparkline(days: Sequence[Days]) -> Markup:
    """The gap of the latest labeled days, as a line around zero; empty without two days."""
    known = [day for day in days if day.labeled.total][-_SPARK_DAYS:]
    if len(known) < 2:
        return Markup("")
    gaps = [metrics.signed_gap(day.labeled) for day in known]
    furthest = max(0.1, *(abs(gap) for gap in gaps))
    (width, height), first, last = _SPARK, known[0].first, known[-1].last
    points = [
        (width * (day.first - first) / (last - first), height * (0.5 - 0.45 * gap / furthest))
        for day, gap in zip(known, gaps, strict=True)
    ]
    described = (
        f"Gap by day, {calendar_day(first)} to {calendar_day(last)}: at the end "
        f"{in_points(gaps[-1])}."
    )
    return render("spark.svg", points=points, size=_SPARK, described=described)
