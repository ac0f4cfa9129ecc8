"""Text and the parts of charts stand out from what is behind them, light and dark (WCAG 2.2, 1.4.3
and 1.4.11).
"""

import re

import pytest

from serving.pages.rendering import asset

TEXT, GRAPHICS = 4.5, 3.0  # the least ratios
_COLORS = dict(re.findall(r"--(\w+): (light-dark\([^)]*\));", asset("style.css").content))


def color(name: str, dark: bool) -> tuple[float, float, float]:
    found = re.findall(r"#(\w{6})", _COLORS[name])[dark]
    red, green, blue = (int(found[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def mixed(over: tuple[float, ...], under: tuple[float, ...], opacity: float) -> tuple[float, ...]:
    return tuple(
        opacity * one + (1 - opacity) * other for one, other in zip(over, under, strict=True)
    )


def luminance(rgb: tuple[float, ...]) -> float:
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_ratio_is_that_of_the_standard() -> None:
    assert contrast((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == pytest.approx(21)
    assert contrast((118 / 255,) * 3, (1.0, 1.0, 1.0)) == pytest.approx(
        4.54, abs=0.01
    )  # #767676, known as the limit


def test_words_and_shapes_of_each_color_stand_out() -> None:
    for dark in [False, True]:
        for name in ["text", "muted", "accent", "good", "warn", "bad"]:
            for behind in ("card", "ground"):
                assert contrast(color(name, dark), color(behind, dark)) >= TEXT


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_range_of_chance_has_an_edge_and_dots_stand_out_in_it(dark: bool) -> None:
    rule = re.search(
        r"svg \.chance .*?fill-opacity: ([\d.]+);.*?stroke-opacity: ([\d.]+);",
        asset("style.css").content,
    )
    fill, edge = float(rule[1]), float(rule[2])
    card, muted = color("card", dark), color("muted", dark)
    inside = mixed(muted, card, fill)
    assert contrast(mixed(muted, card, edge), card) >= GRAPHICS
    for name in ("accent", "bad"):
        assert contrast(color(name, dark), inside) >= GRAPHICS
