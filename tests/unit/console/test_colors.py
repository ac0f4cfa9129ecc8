"""Text and charts stand out, light and dark (WCAG 2.2, 1.4.3 and 1.4.11)."""

import re

import pytest

from console.rendering import asset

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
