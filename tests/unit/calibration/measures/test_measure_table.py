"""The table of measures: each entry is complete, and every place that shows measures follows it."""

import re

import pytest

from calibration.measures.summary import MEASURES
from calibration.measures.table import Measure
from docs.generators.tables import GENERATORS

NAMES = [measure.name for measure in MEASURES]


def test_every_measure_is_documented_once_with_its_meaning_and_formula() -> None:
    tables = "\n".join(make() for name, make in GENERATORS.items() if name.startswith("measures-"))
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| \S[^|]* \| \S[^|]* \| \S.* \| \S.* \|", tables, re.MULTILINE
    )
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(name for name in NAMES if name != "n")


def test_entries_name_entries() -> None:
    for measure in MEASURES:
        assert {measure.upper, measure.documented_with} - {None} <= set(NAMES)


def test_a_gauge_needs_bin_sums() -> None:
    with pytest.raises(ValueError, match="needs"):
        Measure(title="scraped", text="A sentence.", gauge="candor_ratio")
