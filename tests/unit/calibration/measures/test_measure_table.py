"""The table of measures: each entry is complete, and every place that shows measures follows it."""

import re
from typing import Any

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures.summary import MEASURES, Measures
from calibration.measures.table import Measure
from candor.terminal.tables import MEASURES_COLUMNS, measures_row
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


def test_a_row_of_the_terminal_by_hand() -> None:
    measures = Measures.from_sums(
        BinSums.from_predictions(np.full(4, 0.9), [True, True, True, False])
    ).as_dict()
    summary = dict(zip(MEASURES_COLUMNS, measures_row("x", measures), strict=True))
    assert (summary["n"], summary["accuracy"], summary["NLL"]) == ("4", "75.0 %", "-")
    assert (summary["ECE"], summary["95 % interval"], summary["floor"]) == (
        "15.0 %",
        "0.0 to 61.1 %",
        "12.0 %",
    )
    assert (summary["MCE"], summary["gap"]) == ("15.0 %", "+15.0 points")


@pytest.mark.parametrize(
    "details",
    [{"title": "neither"}, {"title": "scraped", "answers": lambda _: 0.0, "gauge": "candor_ratio"}],
)
def test_an_entry_that_cannot_be_computed_is_refused(details: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs"):
        Measure(text="A sentence.", **details)
