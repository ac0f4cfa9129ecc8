"""The figures of the paper (Liang et al. 2020, Tables 1 to 3), and averages beside them.

The paper's averages are recomputed from its rows, since some of the printed ones are wrong;
MISPRINTS lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from calibration.wording import percent
from training.experiments.summary import BASELINE, MethodSummary
from training.experiments.table import ResultTable, format_number


@dataclass(frozen=True)
class PaperRow:
    """ECE, MCE and accuracy by name: uncalibrated, with temperature, with DCA."""

    data: str
    network: str
    figures: Mapping[str, tuple[float, float, float]]


# data, network: ECE uncalibrated, temperature, DCA; MCE of the same; accuracy uncalibrated (also
# temperature's), DCA
_FIGURES = """
RSNA AlexNet        .0113 .0239 .0120   .0291 .0366 .0230   .8376 .8488
RSNA ResNet         .0276 .0231 .0122   .0484 .0325 .0399   .8569 .8762
RSNA DenseNet       .0102 .0814 .0077   .0335 .2233 .0142   .8502 .8543
RSNA SqueezeNet     .0253 .0317 .0097   .0430 .0663 .0270   .8671 .8841
DDSM AlexNet        .2164 .0658 .0591   .2527 .1545 .1800   .6766 .6291
DDSM ResNet         .1844 .0307 .0798   .2897 .1171 .1078   .7195 .6987
DDSM DenseNet       .1798 .0337 .0754   .2403 .0941 .0959   .7076 .7106
DDSM SqueezeNet     .2173 .0458 .0805   .3320 .1631 .1586   .6853 .6771
Mendeley AlexNet    .1693 .0396 .0273   .2454 .4305 .1225   .8585 .8785
Mendeley ResNet     .1475 .0475 .0291   .2321 .1769 .2970   .8520 .8767
Mendeley DenseNet   .1136 .0746 .0285   .2653 .2477 .4898   .8331 .8796
Mendeley SqueezeNet .1871 .0468 .0252   .2521 .2451 .2507   .8742 .8750
Kather AlexNet      .0279 .0344 .0243   .2570 .2974 .7371   .9062 .9052
Kather ResNet       .0248 .0318 .0304   .3072 .6379 .2513   .9355 .9229
Kather DenseNet     .0302 .0286 .0237   .2577 .8015 .4268   .9385 .9410
Kather SqueezeNet   .0372 .0439 .0269   .2566 .3237 .7371   .8932 .9038
"""

MISPRINTS = (
    "¹ The paper prints 28.12/28.17/27.37 % as the averages of its Table 2 (MCE on RSNA, DDSM and "
    "Mendeley); its rows give 18.86/16.56/15.05 %.",
    "² The paper prints 27.66/34.01/33.98 % as the overall MCE; its rows give 20.89/25.30/24.74 %.",
    "³ 65.72 % is a reduction of averages; the mean of the reductions row by row is 47.0 %.",
    "⁴ The abstract gives an accuracy of 83.58 %, Table 1 83.51 %.",
    '⁵ "Consistently better" does not hold on RSNA with AlexNet and on Kather with ResNet; on '
    "DDSM temperature beats DCA in three networks of four.",
)

# The paper's names for the data sets of a grid. PneumoniaMNIST is Mendeley V2 at 28 pixels.
COUNTERPARTS = {
    "pneumoniamnist": "Mendeley",
    "mendeley": "Mendeley",
    "kather": "Kather",
    "rsna": "RSNA",
    "ddsm": "DDSM",
}


def _row(line: str) -> PaperRow:
    data, network, *words = line.split()
    e0, e1, e2, m0, m1, m2, a0, a2 = map(float, words)
    figures = {"ece": (e0, e1, e2), "mce": (m0, m1, m2), "accuracy": (a0, a0, a2)}
    return PaperRow(data, network, figures)


ROWS = tuple(map(_row, _FIGURES.strip().splitlines()))


def paper_rows(data: str, network: str) -> tuple[PaperRow, ...]:
    """The row of this data set and network, else those of all networks on this data set, else none.

    >>> [row.network for row in paper_rows("pneumoniamnist", "efficientnet")]
    ['AlexNet', 'ResNet', 'DenseNet', 'SqueezeNet']
    >>> len(paper_rows("kather", "AlexNet")), len(paper_rows("chest_xray3", "AlexNet"))
    (1, 0)
    """
    of_data = tuple(row for row in ROWS if row.data == COUNTERPARTS.get(data.lower()))
    return tuple(row for row in of_data if row.network == network) or of_data


def averages(rows: tuple[PaperRow, ...] = ROWS) -> PaperRow:
    """Means over rows.

    >>> [round(value, 4) for value in averages().figures["ece"]]  # a cut by 65.7 %
    [0.1006, 0.0427, 0.0345]
    >>> [round(value, 4) for value in averages().figures["mce"]]
    [0.2089, 0.253, 0.2474]
    """
    data, networks = {row.data for row in rows}, {row.network for row in rows}

    def mean(name: str, column: int) -> float:
        return fmean(row.figures[name][column] for row in rows)

    return PaperRow(
        data=data.pop() if len(data) == 1 else "all",
        network=networks.pop() if len(networks) == 1 else f"mean of {len(rows)}",
        figures={name: (mean(name, 0), mean(name, 1), mean(name, 2)) for name in rows[0].figures},
    )


def average_table(summaries: Sequence[MethodSummary], notes: Sequence[str] = ()) -> ResultTable:
    """Averages over data sets and networks, and the cut of the ECE against cross-entropy."""
    pairs = {line.pair for line in summaries}
    by_method: dict[tuple[str, str], list[MethodSummary]] = {}
    for line in summaries:
        by_method.setdefault((line.method, line.calibrator), []).append(line)
    base = {line.pair: line.figures["ece"].mean for line in by_method.get(BASELINE, [])}
    rows = [
        _average_row(f"{method}, {calibrator}", lines, base)
        for (method, calibrator), lines in by_method.items()
        if {line.pair for line in lines} == pairs
    ]
    return ResultTable(
        "averages",
        f"Averages over {len(pairs)} data sets and networks",
        (
            "method, calibrator",
            "ECE",
            "cut",
            "cut by row",
            "largest z",
            "accuracy",
            "MCE",
            "NLL",
        ),
        (*rows, *_paper_averages()),
        (*notes, *MISPRINTS),
    )


def _average_row(
    title: str, lines: Sequence[MethodSummary], base: Mapping[tuple[str, str], float]
) -> tuple[str, ...]:
    def mean(figure: str) -> float:
        return fmean(line.figures[figure].mean for line in lines)

    cut = 1 - mean("ece") / fmean(base.values()) if base else None
    by_row = (
        fmean(1 - line.figures["ece"].mean / base[line.pair] for line in lines) if base else None
    )
    largest = max(line.figures["ece_z"].mean for line in lines)
    return (
        title,
        percent(mean("ece"), 2),
        percent(cut),
        percent(by_row),
        f"{largest:.1f}",
        percent(mean("accuracy"), 2),
        percent(mean("mce"), 2),
        format_number(mean("nll")),
    )


def _paper_averages() -> list[tuple[str, ...]]:
    figures = averages().figures
    rows: list[tuple[str, ...]] = []
    for index, title in enumerate(("ce, none", "ce, temperature", "dca, none")):
        third, fourth, fifth = "³⁴⁵" if title == "dca, none" else ("", "", "")  # of MISPRINTS
        cut = 1 - figures["ece"][index] / figures["ece"][0]
        by_row = fmean(1 - row.figures["ece"][index] / row.figures["ece"][0] for row in ROWS)
        rows.append(
            (
                f"paper: {title}",
                percent(figures["ece"][index], 2) + fifth,
                percent(cut) + third,
                percent(by_row) + third,
                "-",
                percent(figures["accuracy"][index], 2) + fourth,
                percent(figures["mce"][index], 2) + "¹ ²",
                "-",
            )
        )
    return rows
