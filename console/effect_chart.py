"""What a remedy does to groups as arrows, from the gap of now to the gap after it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from markupsafe import Markup

from calibration.diagnosis.facts import GroupEffect
from calibration.wording import counted, in_points, signed_points
from console.axis import WIDE, Chart, round_step
from console.rendering import render
from monitoring.diagnosis.phrases import group_words
from monitoring.recalibration.preview import Fate

SHOWN: Final = 8  # arrows
TONES: Final = {Fate.MENDED: "ok", Fate.WORSE: "alarm", Fate.MOVED: "early"}
_ROW, _TOP, _SCALE = 34, 16, 30  # heights: of an arrow, above the first, and of the scale below
_NARROW_ROW = 42  # a phone has the name above its arrow
_LONGEST: Final = {True: 22, False: 34}  # characters of a name, by whether the chart is wide


class Arrow(NamedTuple):
    """A group's gap before and after: places in the drawing, and its words."""

    name: str
    told: str
    labels: int
    tone: str
    word: str
    y: float
    before: float
    after: float


@dataclass(frozen=True)
class Ground:
    """Maps gaps from `lowest` to `highest` points to the width between `left` and `right`."""

    width: int
    rows: int
    lowest: int
    highest: int
    step: int

    @property
    def is_wide(self) -> bool:
        return self.width == WIDE

    @property
    def left(self) -> int:
        return 270 if self.is_wide else 14

    @property
    def right(self) -> int:
        return self.width - (84 if self.is_wide else 16)

    @property
    def bottom(self) -> int:
        return _TOP + self.rows * (_ROW if self.is_wide else _NARROW_ROW)

    @property
    def height(self) -> int:
        return self.bottom + _SCALE

    @property
    def ticks(self) -> range:
        return range(self.lowest, self.highest + 1, self.step)

    def x(self, points: float) -> float:
        part = (points - self.lowest) / (self.highest - self.lowest)
        return round(self.left + (self.right - self.left) * part, 1)

    def y(self, row: int) -> float:
        """Where the arrow of a row is."""
        return _TOP + (_ROW * (row + 0.5) if self.is_wide else _NARROW_ROW * (row + 0.75))


def effect_chart(fates: Sequence[tuple[Fate, GroupEffect]], gap: str) -> Chart | None:
    """Arrows of the first groups that change; `gap`: what it is called. None if none changes."""
    moved = [each for each in fates if each[0] is not Fate.UNCHANGED][:SHOWN]
    return Chart(partial(_draw, moved, gap)) if moved else None


def _draw(moved: Sequence[tuple[Fate, GroupEffect]], gap: str, *, width: int) -> Markup:
    ends = [100 * end for _, each in moved for end in (each.before, each.after)]
    step, _ = round_step(max(map(abs, ends)) / 100, most=4)
    lowest, highest = (
        step * math.floor(min(0, *ends) / step),
        step * math.ceil(max(0, *ends) / step),
    )
    ground = Ground(width, len(moved), lowest, highest, step)
    words = (_words(fate, each) for fate, each in moved)
    described = f"{gap.capitalize()} before and after. " + " ".join(words)
    arrows = [_arrow(row, *each, ground) for row, each in enumerate(moved)]
    return render("effect_chart.svg", ground=ground, arrows=arrows, described=described)


def _words(fate: Fate, effect: GroupEffect) -> str:
    """What becomes of a group, in a sentence."""
    said = {Fate.MENDED: ", mended", Fate.WORSE: ", worse"}.get(fate, "")
    return (
        f"{group_words(effect.group)}: {signed_points(effect.before)} → {in_points(effect.after)}"
        f"{said} ({counted(effect.n, 'label')})."
    )


def _arrow(row: int, fate: Fate, effect: GroupEffect, ground: Ground) -> Arrow:
    name, longest = group_words(effect.group), _LONGEST[ground.is_wide]
    return Arrow(
        name=name if len(name) <= longest else f"{name[: longest - 1]}…",
        told=_words(fate, effect),
        labels=effect.n,
        tone=TONES[fate],
        word="" if fate is Fate.MOVED else fate.value,
        y=ground.y(row),
        before=ground.x(100 * effect.before),
        after=ground.x(100 * effect.after),
    )
