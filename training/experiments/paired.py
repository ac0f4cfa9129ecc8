"""Differences against cross-entropy, paired by seed: what a method changes, without the spread that
seeds share.

Both runs of a pair start from the same weights and are measured on the same test images, with the
same calibrator.
"""

from collections.abc import Sequence

from training.experiments.cell import CellResult
from training.experiments.paired_images import image_table
from training.experiments.summary import BASELINE, estimate, measure
from training.experiments.table import ResultTable, file_stem, format_estimate

EXPLAINED = (
    "Method minus cross-entropy with the same calibrator and seed: mean ± half of the 95 % t "
    "interval. An interval "
    "that does not contain 0 is a difference."
)
COLUMNS = ("method, calibrator", "seeds", "ECE", "accuracy", "NLL")
FIGURES = ("ece", "accuracy", "nll")


def paired_tables(results: Sequence[CellResult]) -> list[ResultTable]:
    """Two tables for each data set and network that has cross-entropy and another method: over
    seeds, over images.
    """
    groups: dict[tuple[str, str], dict[str, dict[int, CellResult]]] = {}
    for result in results:
        cell = result.cell
        if not result.failure:
            methods = groups.setdefault((cell.data, cell.network), {})
            methods.setdefault(cell.method, {})[cell.config.seed] = result
    compared = [
        (pair, found) for pair, found in groups.items() if BASELINE[0] in found and len(found) > 1
    ]
    return [
        table
        for pair, found in compared
        for table in (_table(pair, found), image_table(pair, found))
    ]


def _table(pair: tuple[str, str], methods: dict[str, dict[int, CellResult]]) -> ResultTable:
    base = {seed: measure(result) for seed, result in methods[BASELINE[0]].items()}
    rows: list[tuple[str, ...]] = []
    for method, by_seed in methods.items():
        found = {seed: measure(result) for seed, result in by_seed.items() if seed in base}
        if method == BASELINE[0] or not found:
            continue
        for calibrator in next(iter(found.values())):
            differences = (
                estimate(
                    getattr(measures[calibrator], figure) - getattr(base[seed][calibrator], figure)
                    for seed, measures in found.items()
                )
                for figure in FIGURES
            )
            rows.append(
                (f"{method}, {calibrator}", str(len(found)), *map(format_estimate, differences))
            )
    title = f"Against cross-entropy, paired by seed: {', '.join(pair)}"
    return ResultTable(file_stem("paired", *pair), title, COLUMNS, tuple(rows), (EXPLAINED,))
