"""The columns in which a set of measures is printed, the same in every table; the table of measures
names them.
"""

from collections.abc import Iterable, Mapping

from calibration.measures.summary import MEASURES
from calibration.measures.table import Column, Measure
from candor.terminal.tables import figure, interval


def _columns(named: Iterable[tuple[Column | None, Measure]]) -> list[tuple[str, Measure]]:
    chosen = [(column, measure) for column, measure in named if column is not None]
    return [
        (column.title, measure)
        for column, measure in sorted(chosen, key=lambda pair: pair[0].place)
    ]


_SUMMARY = _columns((measure.summary, measure) for measure in MEASURES)
_FURTHER = _columns((measure.further, measure) for measure in MEASURES)
MEASURES_COLUMNS = ("", *(title for title, _ in _SUMMARY))
FURTHER_COLUMNS = ("", *(title for title, _ in _FURTHER))


def measures_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under MEASURES_COLUMNS; `measures` as `calibration.measures.summary.Measures.as_dict`
    returns them.
    """
    return [name, *(_cell(measure, measures) for _, measure in _SUMMARY)]


def further_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under FURTHER_COLUMNS, with noise floors in parentheses."""
    return [name, *(_cell(measure, measures) for _, measure in _FURTHER)]


def _cell(measure: Measure, measures: Mapping[str, float | None]) -> str:
    value = measures.get(measure.name)
    if measure.upper:
        return interval(value, measures.get(measure.upper))
    shown = figure(value, measure.digits, sign=measure.signed)
    return f"{shown} ({figure(measures.get(measure.floor))})" if measure.floor else shown
