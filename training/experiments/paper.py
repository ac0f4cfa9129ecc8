"""The figures of the paper (Liang et al. 2020, Tables 1 to 3) as rows.

Averages are recomputed from these rows, since some of the printed ones are wrong (docs/results.md).
"""

from typing import Any

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


def _rows(line: str) -> list[dict[str, Any]]:
    data, network, *words = line.split()
    e0, e1, e2, m0, m1, m2, a0, a2 = map(float, words)
    figures = (
        ("ce", "none", e0, m0, a0),
        ("ce", "temperature", e1, m1, a0),
        ("dca", "none", e2, m2, a2),
    )
    return [
        {"data": data, "network": network, "method": method, "calibrator": calibrator}
        | {"ece": ece, "mce": mce, "accuracy": accuracy}
        for method, calibrator, ece, mce, accuracy in figures
    ]


PAPER = [row for line in _FIGURES.strip().splitlines() for row in _rows(line)]


def paper_rows(data: str, network: str) -> list[dict[str, Any]]:
    """The rows of this data set and network, else those of all networks on this data set, else
    none. PneumoniaMNIST is Mendeley V2 at 28 pixels.

    >>> len({row["network"] for row in paper_rows("pneumoniamnist", "efficientnet")})
    4
    >>> len(paper_rows("kather", "AlexNet")), len(paper_rows("chest_xray3", "AlexNet"))
    (3, 0)
    """
    name = "mendeley" if data == "pneumoniamnist" else data.lower()
    of_data = [row for row in PAPER if row["data"].lower() == name]
    return [row for row in of_data if row["network"] == network] or of_data
