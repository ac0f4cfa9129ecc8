"""The columns in which a set of measures is printed, the same in every table."""

from collections.abc import Mapping

from candor.terminal.tables import figure, interval

MEASURES_COLUMNS = ("", "n", "accuracy", "ECE", "95 % interval", "floor", "MCE", "gap", "NLL", "Brier")


def measures_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under MEASURES_COLUMNS; `measures` as `calibration.measures.Measures.as_dict` returns them."""
    return [
        name,
        figure(measures["n"], 0),
        figure(measures["accuracy"]),
        figure(measures["ece"]),
        interval(measures["ece_lower"], measures["ece_upper"]),
        figure(measures["noise_floor"]),
        figure(measures["mce"]),
        figure(measures["signed_gap"], sign=True),
        figure(measures.get("nll")),
        figure(measures.get("brier")),
    ]
